"""The student of phrase grounding: encoders of phrases and of regions into one space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scenelift.config import build as configuration
from scenelift.errors import ConfigError
from scenelift.nn.saved import SavedStudent
from scenelift.samples.caption import CaptionedImage, RegionStatistics
from trainables.common.glove import read_glove
from trainables.phrases.batch import PhraseBatch, WordIndex
from trainables.phrases.config import EncoderConfig


class Encoders(SavedStudent):
    """Base of all students of phrases: encodes phrases and regions as comparable vectors."""

    NAME = "a student of phrases"
    SOURCE: ClassVar[tuple[str, type]]
    """Attribute, with its type, that describes the features that are encoded; the constructor's third argument."""

    config: EncoderConfig
    vocabulary: WordIndex

    @property
    def photo_size(self) -> tuple[int, int] | None:
        """(height, width) of the photos needed in a batch; None: none are needed."""
        return None

    @abstractmethod
    def operations(self, regions: int, phrases: int) -> int:
        """Multiplications to ground N phrases among R regions, given their features."""

    @abstractmethod
    def encode(self, batch: PhraseBatch) -> tuple[Tensor, Tensor]:
        """[I, R, E] regions and [N, E] phrases of a batch, of unit length."""

    @abstractmethod
    def ground(self, sample: CaptionedImage) -> NDArray[np.float32]:
        """[P, R] cosine of each phrase of an image with each of its regions. Uses no detector."""

    def description(self) -> dict[str, Any]:
        name, _ = self.SOURCE
        source = configuration.to_dict(getattr(self, name))
        return {"config": configuration.to_dict(self.config), "words": self.vocabulary.known, name: source}

    @classmethod
    def from_description(cls, description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        config = configuration.from_dict(EncoderConfig, description["config"])
        name, kind = cls.SOURCE
        return cls(config, tuple(description["words"]), configuration.from_dict(kind, description[name]))


class PhraseStudent(Encoders):
    """Phrases: word vectors, LSTM, max-pooling over steps, two layers. Regions: two layers. Both of unit length."""

    SOURCE = ("statistics", RegionStatistics)

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
        """[..., D] raw features -> [..., E] of unit length."""
        standardized = (features - self.statistics.mean) / self.statistics.std
        return F.normalize(self.region_layers(standardized), dim=-1)

    def encode_phrases(self, words: Tensor) -> Tensor:
        """[N, T] word ids -> [N, E] of unit length.

        Unknown words are zero vectors that still advance the LSTM; the maximum is over the first step and the
        steps of known words (ckd.md 3).
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


def layers(wide: int, hidden: int, out: int) -> nn.Sequential:
    """Two layers with a ReLU between, initialized as in the paper: Glorot-uniform weights, biases 0."""
    stack = nn.Sequential(nn.Linear(wide, hidden), nn.ReLU(), nn.Linear(hidden, out))
    for layer in stack:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return stack


def _as_tensorflow(lstm: nn.LSTM) -> None:
    """Initialize like TensorFlow's cell: one bias, 1 for the forget gate, else 0; Glorot-uniform weights over input
    and state together (ckd.md 11)."""
    reach = (6 / (lstm.input_size + 5 * lstm.hidden_size)) ** 0.5
    for name, parameter in lstm.named_parameters():
        if name.startswith("weight"):
            nn.init.uniform_(parameter, -reach, reach)
        else:
            nn.init.zeros_(parameter)
    bias = lstm.get_parameter("bias_ih_l0")  # gate order: input, forget, cell, output
    bias.data[lstm.hidden_size : 2 * lstm.hidden_size] = 1
    lstm.get_parameter("bias_hh_l0").requires_grad_(False)


def make_student(
    config: EncoderConfig, words: Collection[str], statistics: RegionStatistics
) -> PhraseStudent:
    """A new student that knows the words, or those of them that are in the GloVe file."""
    if config.glove is None:
        return PhraseStudent(config, tuple(sorted(set(words))), statistics)
    vectors = read_glove(Path(config.glove).expanduser(), words)
    known = tuple(sorted(vectors))
    if (width := len(vectors[known[0]])) != config.word_channels:
        raise ConfigError(
            f"{config.glove} has vectors of {width} numbers; write --student.word_channels {width}"
        )
    student = PhraseStudent(config, known, statistics)
    student.embedding.weight.data[1:] = torch.from_numpy(np.stack([vectors[word] for word in known]))
    return student
