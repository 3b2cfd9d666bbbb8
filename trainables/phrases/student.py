"""The student of phrase grounding: what it makes of a phrase and of a region, in one space."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scenelift.config import build as configuration
from scenelift.errors import ConfigError, DataError, SceneliftError
from scenelift.io import folders, schema
from scenelift.io.storage import Location
from scenelift.samples.caption import CaptionedImage
from scenelift.samples.caption_kind import RegionStatistics
from trainables.phrases.batch import PhraseBatch
from trainables.phrases.words import WordIndex

WEIGHTS, DESCRIPTION = "student.safetensors", "student.json"
VERSION = 1
MIGRATIONS: schema.Migrations = {}


@dataclass(frozen=True)
class EncoderConfig:
    """The two encoders; the defaults are CKD's (ckd.md 3)."""

    features: Literal["files", "clip"] = "files"
    """What regions and phrases are to begin with: the features in the files and vectors of words, or what a CLIP
    says of photo and phrase; the other settings of words are then without effect."""
    word_channels: int = 300
    """Width of a word's vector; that of the file, where there is one."""
    glove: str | None = None
    """A GloVe file (word and numbers a line): its vectors stay as they are, and words that it lacks are unknown;
    none: vectors of the training phrases' words are learned."""
    lstm: int = 300
    """Width of the LSTM that reads a phrase."""
    hidden: int = 1024
    """Width of the hidden layer of both encoders."""
    channels: int = 512
    """Width of the space in which phrases and regions are compared."""
    tokens: int = 10
    """Words of a phrase that are read; later ones are left out."""

    def __post_init__(self) -> None:
        for name in ("word_channels", "lstm", "hidden", "channels", "tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"student.{name} is at least 1, not {getattr(self, name)}")


class Encoders(nn.Module):
    """What every student of phrases is: it makes vectors of phrases and of regions that can be compared."""

    config: EncoderConfig
    vocabulary: WordIndex

    @property
    def size(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    @property
    def photo_size(self) -> tuple[int, int] | None:
        """(height, width) at which photos are wanted in a batch; None: not at all."""
        return None

    def operations(self, regions: int, phrases: int) -> int:
        """Multiplications that grounding so many phrases among so many regions takes, features given."""
        raise AssertionError(f"{type(self).__name__} has no operations")

    def encode(self, batch: PhraseBatch) -> tuple[Tensor, Tensor]:
        """[I, R, E] regions and [N, E] phrases of a batch, of unit length."""
        raise AssertionError(f"{type(self).__name__} has no encode")

    def ground(self, sample: CaptionedImage) -> NDArray[np.float32]:
        """[P, R] cosine of each phrase of an image with each of its regions. No detector is asked."""
        raise AssertionError(f"{type(self).__name__} has no ground")

    def description(self) -> dict[str, Any]:
        """What building the student again needs beside its weights, as JSON."""
        raise AssertionError(f"{type(self).__name__} has no description")

    def save(self, folder: Path) -> None:
        """Weights as safetensors and a description beside them: all that `load` needs."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        safetensors.torch.save_file(state, folder / WEIGHTS)
        (folder / DESCRIPTION).write_text(json.dumps(schema.stamp(self.description(), VERSION), indent=1))

    def restore(self, folder: Path) -> None:
        """Take over the weights that `save` wrote for a student of the same make."""
        self.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))

    @classmethod
    def described(cls, description: dict[str, Any]) -> Self:
        """A student as `description` says, with weights of its own."""
        raise AssertionError(f"{cls.__name__} has no described")

    @classmethod
    def load(cls, folder: Location) -> Self:
        """Read what `save` wrote to a local folder, or what was copied from one to a URI.

        Raises SceneliftError if the folder holds no such student.
        """
        try:
            with folders.fetched(folder, [WEIGHTS, DESCRIPTION]) as local:
                description = json.loads((local / DESCRIPTION).read_text())
                student = cls.described(
                    schema.accept(description, f"{folder}/{DESCRIPTION}", VERSION, MIGRATIONS)
                )
                student.restore(local)
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise SceneliftError(
                f"{folder} holds no student of phrases ({reason}); give a folder runs/NAME/student"
            ) from None
        return student.eval()


class PhraseStudent(Encoders):
    """Phrases: word vectors, LSTM, maximum over its steps, two layers. Regions: two layers. Both of unit length."""

    def __init__(self, config: EncoderConfig, words: tuple[str, ...], statistics: RegionStatistics) -> None:
        super().__init__()
        self.config, self.statistics = config, statistics
        self.vocabulary = WordIndex(words, config.tokens)
        self.embedding = nn.Embedding(1 + len(words), config.word_channels, padding_idx=0)
        self.lstm = nn.LSTM(config.word_channels, config.lstm, batch_first=True)
        self.phrase_layers = layers(config.lstm, config.hidden, config.channels)
        self.region_layers = layers(statistics.width, config.hidden, config.channels)
        self.embedding.requires_grad_(config.glove is None)
        _as_tensorflow(self.lstm)

    def operations(self, regions: int, phrases: int) -> int:
        config = self.config
        region = self.statistics.width * config.hidden + config.hidden * config.channels
        step = 4 * config.lstm * (config.word_channels + config.lstm)
        phrase = config.tokens * step + config.lstm * config.hidden + config.hidden * config.channels
        return regions * region + phrases * phrase + regions * phrases * config.channels

    def encode(self, batch: PhraseBatch) -> tuple[Tensor, Tensor]:
        return self.encode_regions(batch.features), self.encode_phrases(batch.words)

    def encode_regions(self, features: Tensor) -> Tensor:
        """[..., D] features as the files have them -> [..., E] of unit length."""
        return F.normalize(
            self.region_layers((features - self.statistics.mean) / self.statistics.std), dim=-1
        )

    def encode_phrases(self, words: Tensor) -> Tensor:
        """[N, T] numbers of words -> [N, E] of unit length.

        Unknown words are zero vectors that move the LSTM on; the maximum is over the first step and those of known
        words (ckd.md 3).
        """
        rows = words if len(words) else words.new_zeros(1, self.config.tokens)
        states, _ = self.lstm(self.embedding(rows))
        pooled = (rows > 0) | (torch.arange(rows.shape[1], device=rows.device) == 0)
        best = states.masked_fill(~pooled[..., None], -torch.inf).amax(1)
        return F.normalize(self.phrase_layers(best), dim=-1)[: len(words)]

    @torch.inference_mode()
    def ground(self, sample: CaptionedImage) -> NDArray[np.float32]:
        device = self.embedding.weight.device
        words = torch.from_numpy(self.vocabulary([phrase.text for phrase in sample.phrases])).to(device)
        features = torch.from_numpy(sample.features.astype(np.float32)).to(device)
        return (self.encode_phrases(words) @ self.encode_regions(features).T).float().cpu().numpy()

    def description(self) -> dict[str, Any]:
        return {
            "config": configuration.to_dict(self.config),
            "words": self.vocabulary.known,
            "statistics": configuration.to_dict(self.statistics),
        }

    @classmethod
    def described(cls, description: dict[str, Any]) -> Self:
        return cls(
            configuration.from_dict(EncoderConfig, description["config"]),
            tuple(description["words"]),
            configuration.from_dict(RegionStatistics, description["statistics"]),
        )


def layers(wide: int, hidden: int, out: int) -> nn.Sequential:
    """Two layers with a ReLU between, begun as the paper's: Glorot-uniform weights, biases 0."""
    stack = nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, out))
    for layer in stack:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return stack


def _as_tensorflow(lstm: nn.LSTM) -> None:
    """Begin as TensorFlow's cell does: one bias, 1 for the forget gate and else 0, and Glorot-uniform weights over
    the input and the state together (ckd.md 11)."""
    reach = (6 / (lstm.input_size + 5 * lstm.hidden_size)) ** 0.5
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight"):
            nn.init.uniform_(parameter, -reach, reach)
        else:
            nn.init.zeros_(parameter)
    bias = lstm.get_parameter("bias_ih_l0")  # gates lie in the order input, forget, cell, output
    bias.data[lstm.hidden_size : 2 * lstm.hidden_size] = 1
    lstm.get_parameter("bias_hh_l0").requires_grad_(False)


def read_glove(path: Path, wanted: Iterable[str]) -> Mapping[str, NDArray[np.float32]]:
    """The vectors of those wanted words that the file has; DataError if it is none or has none of them."""
    missing, found = set(wanted), {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                word, _, numbers = line.partition(" ")
                if word in missing:
                    found[word] = np.array(numbers.split(), np.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no GloVe file (word and numbers a line): {error}") from None
    if not found:
        raise DataError(f"{path} has none of the words of the phrases; is it a GloVe file?")
    return found


def make_student(config: EncoderConfig, words: Iterable[str], statistics: RegionStatistics) -> PhraseStudent:
    """A student at its start, who knows these words, or those of them that a GloVe file has."""
    if config.glove is None:
        return PhraseStudent(config, tuple(sorted(set(words))), statistics)
    vectors = read_glove(Path(config.glove), words)
    known = tuple(sorted(vectors))
    widths = {len(vectors[word]) for word in known}
    if widths != {config.word_channels}:
        raise ConfigError(
            f"{config.glove} has vectors of {sorted(widths)} numbers; set student.word_channels to theirs"
        )
    student = PhraseStudent(config, known, statistics)
    student.embedding.weight.data[1:] = torch.from_numpy(np.stack([vectors[word] for word in known]))
    return student
