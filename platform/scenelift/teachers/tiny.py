"""A CLIP small enough to ship: open_clip's own model with few layers and a tokenizer of few words. One
safetensors file holds the weights and, as metadata, all that is needed to build the model, and its provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scenelift.config.build import from_dict, to_dict
from scenelift.errors import SceneliftError, TeacherError, reason
from scenelift.io.storage import unwritten

METADATA = "scenelift_tiny_clip"
PADDING = 0


@dataclass(frozen=True)
class TinyModel:
    """Architecture and prompts of a tiny CLIP; stored in the metadata of its weights file."""

    ids: tuple[int, ...]
    """Ids of CLIP's tokenizer that the model knows, ascending; the model's own ids are their indices."""
    image_size: tuple[int, int] = (112, 192)
    """(height, width) of the images it was trained on, pixels."""
    patch: tuple[int, int] = (7, 6)
    """(height, width) of a patch, pixels."""
    width: int = 128
    layers: int = 3
    head_width: int = 32
    text_width: int = 64
    text_layers: int = 1
    context: int = 20
    """Longest sentence, in tokens, with start and end."""
    embedding: int = 128
    """Channels that images and texts share."""
    value_path: Literal["value", "residual"] = "residual"
    templates: str = "tiny"
    provenance: str = ""
    """JSON: the command that trained it, its seed, seconds, commit and scores."""

    @classmethod
    def of(cls, sentences: Iterable[str], **fields: Any) -> TinyModel:
        """A model whose tokenizer knows every word of the sentences."""
        known = {PADDING, *_bpe().all_special_ids}
        return cls(ids=tuple(sorted(known.union(*(_bpe().encode(text) for text in sentences)))), **fields)


class TinyTokenizer:
    """CLIP's tokenizer with the few ids that a tiny model knows, in order: the largest id ends a sentence."""

    def __init__(self, model: TinyModel) -> None:
        assert list(model.ids) == sorted(set(model.ids)) and model.ids[0] == PADDING
        self.position = {token: position for position, token in enumerate(model.ids)}
        self.context = model.context

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Token ids int64 [P, context]. TeacherError names all words that the model does not know."""
        self._require_known(sentences)
        tokens = torch.zeros(len(sentences), self.context, dtype=torch.int64)
        for row, sentence in zip(tokens, sentences, strict=True):
            ids = self._ids(sentence)
            if len(ids) > self.context:
                raise TeacherError(f"{sentence!r} is longer than the tiny teacher's {self.context} tokens")
            row[: len(ids)] = torch.tensor([self.position[token] for token in ids])
        return tokens

    def _ids(self, sentence: str) -> list[int]:
        start, end = _bpe().all_special_ids
        return [start, *_bpe().encode(sentence), end]

    def _require_known(self, sentences: Sequence[str]) -> None:
        known = self.position.keys()
        strange = [sentence for sentence in sentences if not known >= set(self._ids(sentence))]
        words = [word for sentence in strange for word in sentence.split()]
        unknown = dict.fromkeys(word.strip(".,") for word in words if not known >= set(_bpe().encode(word)))
        if strange:
            raise TeacherError(
                f"the tiny teacher does not know {', '.join(unknown)} (in {strange[0]!r}): it is for the "
                "synthetic worlds. Take the preset of your data set (of your own data: own), or CLIP with "
                "--teacher clip; or give your classes words that it knows"
            )


@cache
def _bpe() -> Any:
    return open_clip.SimpleTokenizer()


def build_tiny(model: TinyModel) -> open_clip.CLIP:
    """The model with random weights, but sines for the positions of patches (region accuracy .74 instead of
    .73)."""
    clip = open_clip.CLIP(
        embed_dim=model.embedding,
        vision_cfg={
            "image_size": model.image_size,
            "patch_size": model.patch,
            "width": model.width,
            "layers": model.layers,
            "head_width": model.head_width,
        },
        text_cfg={
            "context_length": model.context,
            "vocab_size": len(model.ids),
            "width": model.text_width,
            "heads": model.text_width // 32,
            "layers": model.text_layers,
        },
    )
    with torch.no_grad():
        clip.visual.positional_embedding[1:] = _sines(clip.visual.grid_size, model.width)
    return clip


def _sines(grid: tuple[int, int], width: int) -> Tensor:
    """[h w, width] row, then column, as sines and cosines of waves from 6 to 600 patches long."""
    quarter = width // 4
    wave = 100.0 ** -(torch.arange(quarter) / quarter)
    rows, cols = (torch.arange(cells).unsqueeze(1) * wave for cells in grid)
    rows = torch.cat([rows.sin(), rows.cos()], dim=1).unsqueeze(1).expand(*grid, -1)
    cols = torch.cat([cols.sin(), cols.cos()], dim=1).unsqueeze(0).expand(*grid, -1)
    return 0.3 * torch.cat([rows, cols], dim=2).flatten(0, 1)


def save_tiny(path: str | Path, clip: open_clip.CLIP, model: TinyModel) -> None:
    """Write weights (as float16) and description as one safetensors file."""
    tensors = {name: tensor.detach().cpu().half().contiguous() for name, tensor in clip.state_dict().items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, path, metadata={METADATA: json.dumps(to_dict(model))})
    except SafetensorError as error:  # also of a full disk
        raise unwritten(path, error) from error


def is_tiny(path: str | Path) -> bool:
    """Whether the path is a file that `save_tiny` wrote."""
    return Path(path).is_file() and Path(path).suffix == ".safetensors" and METADATA in _metadata(path)


def read_tiny(path: str | Path) -> TinyModel:
    """The description in a file; TeacherError for one that is missing, damaged, or of another model."""
    if not Path(path).is_file():
        raise TeacherError(
            f"no tiny teacher at {path}; python -m trainables.teacher makes one, or set teacher.weights to it"
        )
    if not is_tiny(path):
        raise TeacherError(f"{path} is not a tiny teacher: it lacks {METADATA}; set teacher.model instead")
    try:
        return from_dict(TinyModel, json.loads(_metadata(path)[METADATA]))
    except (SceneliftError, ValueError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from None


def load_tiny(path: str | Path) -> tuple[open_clip.CLIP, TinyModel]:
    """Build the model that a file describes and load its weights, float32 on the CPU."""
    model = read_tiny(path)
    try:
        clip = build_tiny(model)
        with safe_open(str(path), "pt") as file:
            clip.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except Exception as error:  # the file decides what is built, so that anything may fail
        raise _damaged(path, error) from None
    return clip, model


def _damaged(path: str | Path, error: Exception) -> TeacherError:
    return TeacherError(f"{path} is damaged ({reason(error)}); make it again: python -m trainables.teacher")


def _metadata(path: str | Path) -> dict[str, str]:
    try:
        with safe_open(str(path), "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, MemoryError) as error:
        raise TeacherError(f"{path} is not a complete safetensors file: {error}") from error
