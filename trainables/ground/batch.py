"""Rooms -> one batch: proposals padded to the largest room, sentences of all rooms concatenated."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenelift.samples.room import Room
from trainables.ground.config import MethodConfig
from trainables.ground.lexicon import SPECIAL, UNKNOWN


@dataclass(frozen=True)
class RoomBatch:
    """Shapes: B rooms of up to M proposals, S sentences of up to T words. Contains no true boxes or targets."""

    boxes: Tensor  # [B, M, 6] float32, 0 for padding
    rows: Tensor  # [B, M] int64 indices of the proposals in their room
    features: Tensor  # [B, M, D] float32
    class_logits: Tensor  # [B, M, C] float32
    present: Tensor  # [B, M] bool, False for padding
    objects: Tensor  # [B, M] bool, proposals that the detector considers objects
    ids: Tensor  # [S, T] int64 words; 0 for padding, 1 for words that are not in the lexicon
    lengths: Tensor  # [S] int64
    keywords: Tensor  # [S, T] bool
    room: Tensor  # [S] int64 the room of each sentence, non-decreasing
    category: Tensor  # [S] int64 annotated class
    noun: Tensor  # [S] int64 class of the head noun, -1 if there is none
    tokens: tuple[str, ...]  # [B] names of the rooms

    @property
    def is_word(self) -> Tensor:
        """[S, T] bool, False for padding."""
        return self.ids != 0

    def to(self, device: torch.device) -> RoomBatch:
        """The batch on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True)
class CollateRooms:
    """Rooms with all of their sentences to a batch; deterministic."""

    words: tuple[str, ...]
    """Words of the `Lexicon`."""
    background: bool = True
    """Keep proposals that are not considered objects. A room without any object keeps all in either case."""
    mask_noun: bool = False
    """Count the head noun among the keywords."""
    longest: int = 126
    """Longest sentence, words; later words are left out."""

    @classmethod
    def of(cls, words: tuple[str, ...], method: MethodConfig) -> CollateRooms:
        """For the settings of a method."""
        return cls(words, method.background, method.mask_noun)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> its id."""
        return {word: number for number, word in enumerate(self.words, SPECIAL)}

    def __call__(self, rooms: Sequence[Room], epoch: int = 0) -> RoomBatch:
        """Collate B rooms with all of their sentences."""
        kept = [self._kept(room) for room in rooms]
        selected = list(zip(rooms, kept, strict=True))
        count = torch.tensor([len(rows) for rows in kept])
        sentences = [sentence for room in rooms for sentence in room.sentences]
        lengths = [min(len(sentence.tokens), self.longest) for sentence in sentences]
        ids = np.zeros((len(sentences), max(lengths)), np.int64)
        keywords = np.zeros(ids.shape, bool)
        for row, flags, sentence, length in zip(ids, keywords, sentences, lengths, strict=True):
            row[:length] = [self.ids.get(token, UNKNOWN) for token in sentence.tokens[:length]]
            flags[:length] = sentence.keywords[:length]
            if self.mask_noun and 0 <= sentence.head < length:
                flags[sentence.head] = True
        return RoomBatch(
            boxes=_padded([room.boxes[rows] for room, rows in selected]),
            rows=_padded(kept),
            features=_padded([room.features[rows] for room, rows in selected]),
            class_logits=_padded([room.class_logits[rows] for room, rows in selected]),
            present=torch.arange(int(count.max())) < count[:, None],
            objects=_padded([room.objectness[rows] for room, rows in selected]),
            ids=torch.from_numpy(ids),
            lengths=torch.tensor(lengths),
            keywords=torch.from_numpy(keywords),
            room=torch.tensor([i for i, room in enumerate(rooms) for _ in room.sentences], dtype=torch.int64),
            category=torch.tensor([sentence.category for sentence in sentences]),
            noun=torch.tensor([sentence.noun for sentence in sentences]),
            tokens=tuple(room.token for room in rooms),
        )

    def _kept(self, room: Room) -> NDArray[np.int64]:
        """Indices of the proposals that take part."""
        all_of_them = self.background or not room.objectness.any()
        return np.flatnonzero(room.objectness | all_of_them)


def _padded(arrays: Sequence[NDArray[Any]]) -> Tensor:
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded)
