"""What is shown of one scan: its points, their own values, and the photos that see them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.inference.config import InputConfig
from scenelift.inference.files.clouds import COLORS, INTENSITY, Chunk, features_of
from scenelift.samples.frame import Frame
from scenelift.samples.images import decode

FAR = 1 << 14
"""Metres from the origin, beyond which float32 rounds by more than a millimetre: such clouds are moved."""
AS_USUAL = InputConfig()
"""Columns of files become features as far as names tell."""


@dataclass(frozen=True)
class PlainCloud:
    """A cloud from a file."""

    path: str
    chunk: Chunk
    """Its points, or every k-th of them, with all columns."""
    reading: InputConfig = AS_USUAL
    """How features are made of the columns."""

    def features(self, count: int) -> NDArray[np.float32]:
        """[N, count] what a student reads of each point; DataError if the columns do not give it."""
        features = features_of(self.chunk, count, self.reading.columns, self.path)
        return features * np.float32(self.reading.scale) + np.float32(self.reading.offset)


@dataclass(frozen=True)
class View:
    """One scan as it is shown. Shapes: N points, F features, V photos, M pairs."""

    name: str
    scene: str
    points: NDArray[np.float32]
    """[N, 3] metres, less `origin`."""
    features: NDArray[np.float32]
    """[N, F] as in the data, such as intensity."""
    truth: NDArray[np.uint8] | None = None
    """[N] labels 0..C, 0 = no label; None: the data has none."""
    colors: NDArray[np.uint8] | None = None
    """[N, 3] the cloud's own colors, RGB."""
    cameras: tuple[str, ...] = ()
    encoded: tuple[bytes, ...] = ()
    """[V] encoded photos."""
    pair_points: NDArray[np.int64] | None = None
    """[M] the point of each pair, 0..N-1."""
    pair_pixels: NDArray[np.int16] | None = None
    """[M, 3] its pixel: (photo, row, column)."""
    source: Frame | PlainCloud | None = None
    """What a student reads."""
    step: int = 1
    """Every how manieth point of a file is shown."""

    @classmethod
    def of_frame(cls, frame: Frame) -> View:
        """The keyframe of a frame, without its sweeps."""
        key = frame.keyframe
        row = np.cumsum(key) - 1
        shown = key[frame.pair_points]
        return cls(
            name=frame.token,
            scene=frame.scene,
            points=frame.points[key],
            features=frame.features[key],
            truth=None if frame.labels is None or not frame.labels[key].any() else frame.labels[key],
            cameras=frame.cameras,
            encoded=frame.images,
            pair_points=row[frame.pair_points[shown]],
            pair_pixels=frame.pair_pixels[shown],
            source=frame,
        )

    @classmethod
    def of_cloud(cls, name: str, cloud: PlainCloud, step: int = 1) -> View:
        """A cloud from a file, of which every `step`-th point was read."""
        points, columns = np.asarray(cloud.chunk.points, np.float64), cloud.chunk.columns
        origin = np.floor(np.median(points, 0)) if np.abs(points).max(initial=0) > FAR else np.zeros(3)
        intensity = next((columns[each] for each in INTENSITY if each in columns), None)
        own = np.zeros((len(points), 0), np.float32)
        return cls(
            name=name,
            scene=name.rpartition("/")[0] or ".",
            points=(points - origin).astype(np.float32),
            features=own if intensity is None else np.asarray(intensity, np.float32)[:, None],
            colors=_colors(columns),
            source=cloud,
            step=step,
        )

    @functools.cached_property
    def photos(self) -> NDArray[np.uint8]:
        """[V, H, W, 3] RGB; FrameError if one is broken."""
        return np.stack([decode(each) for each in self.encoded])

    @property
    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
        """[M] points and [M, 3] pixels, none if there are no photos."""
        if self.pair_points is None or self.pair_pixels is None:
            return np.zeros(0, np.int64), np.zeros((0, 3), np.int16)
        return self.pair_points, self.pair_pixels

    @property
    def ranges(self) -> NDArray[np.float32]:
        """[N] distance from the origin, where the sensor is, metres."""
        return np.linalg.norm(self.points, axis=1)

    @property
    def extent(self) -> float:
        """Half the side of the square, metres, that holds nearly all points, about their middle."""
        if not len(self.points):
            return 1.0
        return max(0.5, float(np.quantile(np.abs(self.points[:, :2] - self.middle[:2]), 0.97)))

    @property
    def middle(self) -> NDArray[np.float32]:
        """[3] median of the points."""
        return np.median(self.points, 0) if len(self.points) else np.zeros(3, np.float32)


def _colors(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
    """[N, 3] RGB of 8 bits; files have them with 8 or 16 bits, or as shares of 1."""
    if not all(name in columns for name in COLORS):
        return None
    colors = np.stack([np.asarray(columns[name]) for name in COLORS], 1)
    most = colors.max(initial=0)
    scale = 255.0 if colors.dtype.kind == "f" and most <= 1 else 1.0 if most < 256 else 1 / 256
    return np.clip(colors * scale, 0, 255).astype(np.uint8)
