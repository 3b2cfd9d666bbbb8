"""The interface of a layout: it writes one scene at a time, and then the files shared by all scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.config import WorldConfig


class Record(Protocol):
    """Result of writing one scene: small, picklable."""

    @property
    def name(self) -> str: ...

    @property
    def points(self) -> NDArray[np.int64]:
        """[32] keyframe points by raw class."""


class Writer(Protocol):
    """A module that writes the world in one layout; scenes may be written by different processes."""

    def folders(self, config: WorldConfig) -> list[Path]:
        """Every folder that `write_scene` needs, relative to the root."""

    def write_scene(self, config: WorldConfig, name: str) -> Any:
        """Render one scene, write its files, return its `Record`."""

    def save(self, config: WorldConfig, records: Sequence[Any]) -> None:
        """Write the files shared by all scenes, from their records in order."""


def matrix_text(matrix: NDArray[np.float64]) -> str:
    """One line per row; rounded to 1e-9, below which machines disagree."""
    clean = np.round(matrix, 9) + 0.0  # no -0
    return "".join(" ".join(f"{value:.9e}" for value in row) + "\n" for row in clean.tolist())
