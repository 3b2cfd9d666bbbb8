"""The words that a student of phrases knows, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.caption import words_of


@dataclass(frozen=True)
class WordIndex:
    """The words that a student knows; word i has number i + 1, and 0 is any other."""

    known: tuple[str, ...]
    tokens: int
    """How many of a phrase are read."""

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.known, start=1)}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """[N, T] numbers of the words of each phrase, then 0."""
        table = np.zeros((len(texts), self.tokens), np.int64)
        for row, text in zip(table, texts, strict=True):
            numbers = [self._numbers.get(word, 0) for word in words_of(text)[: self.tokens]]
            row[: len(numbers)] = numbers
        return table
