"""A cloud together with what is said of it, as writers take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenelift.inference.files.clouds import Chunk
from scenelift.inference.labeler import Labels

NOTHING_COLOR = (128, 128, 128)
"""Of points of which nothing is said."""


@dataclass(frozen=True)
class Labelled:
    """A cloud and what is said of it."""

    chunks: Callable[[], Iterator[Chunk]]
    """Reads the points again."""
    labels: Labels
    """Of all points; the arrays may lie on disk."""
    colors: tuple[tuple[int, int, int], ...]
    """RGB of each class."""
    source: Path | None = None
    """The file that the points come from."""

    def parts(self) -> Iterator[tuple[Chunk, slice]]:
        """The points and where their labels lie."""
        start = 0
        for chunk in self.chunks():
            yield chunk, slice(start, start + len(chunk.points))
            start += len(chunk.points)

    def rgb(self, rows: slice) -> NDArray[np.uint8]:
        """[n, 3] the color of each point's class."""
        return np.array((NOTHING_COLOR, *self.colors), np.uint8)[self.labels.ids[rows]]

    def extra(self, rows: slice) -> dict[str, NDArray[np.float32]]:
        """Confidence and, where there are any, the scores by class, one column each."""
        columns = {"confidence": self.labels.confidence[rows]}
        if self.labels.scores is not None:
            names = (f"score_{name.replace(' ', '_')}" for name in self.labels.classes)
            columns |= dict(zip(names, self.labels.scores[rows].T, strict=True))
        return columns
