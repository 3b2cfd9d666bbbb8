"""What a layout is: a way to write one scene at a time, and then what belongs to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.config import WorldConfig
from datasets.synthetic.sensors import Camera


class Record(Protocol):
    """What writing one scene hands back: small, picklable."""

    @property
    def name(self) -> str: ...

    @property
    def points(self) -> NDArray[np.int64]:
        """[32] keyframe points by raw class."""


class Writer(Protocol):
    """A module that writes the world in one layout; each scene may be written by another process."""

    def folders(self, config: WorldConfig) -> list[Path]:
        """Every folder that `write_scene` needs, relative to the root."""

    def write_scene(self, config: WorldConfig, name: str) -> Any:
        """Render one scene, write its files, return its `Record`."""

    def save(self, config: WorldConfig, records: Sequence[Any]) -> None:
        """Write what all scenes share, from the records in order."""


def pinhole(camera: Camera) -> NDArray[np.float64]:
    """[3, 3] intrinsic matrix as KITTI and ScanNet write it: whole coordinates are the centres of pixels."""
    intrinsic = camera.intrinsic
    intrinsic[:2, 2] -= 0.5
    return intrinsic


def matrix_text(matrix: NDArray[np.float64]) -> str:
    """A line each row; rounded to a billionth, below which machines disagree."""
    clean = np.round(matrix, 9) + 0.0  # no -0
    return "".join(" ".join(f"{value:.9e}" for value in row) + "\n" for row in clean.tolist())
