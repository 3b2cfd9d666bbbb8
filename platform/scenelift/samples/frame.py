"""Samples of 3D scenes: a scan with its point cloud, images, and point-pixel pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = 0
"""Label of points that are not evaluated; the classes of a data set are 1..C."""

ARRAYS = {
    "points": ("<f4", 3),
    "features": ("<f4", -1),
    "sweep": ("u1", 0),
    "labels": ("u1", 0),
    "pair_points": ("<i4", 0),
    "pair_pixels": ("<i2", 3),
}
"""Column -> (dtype on disk, row width); width 0 is a flat array, -1 the frame's own number of features."""


@dataclass(frozen=True)
class Frame:
    """One keyframe of a data set, projected: all that training and evaluation read.

    Shapes: N points of the keyframe and its LiDAR sweeps together, F features per point, V images, M pairs.
    """

    token: str
    """Unique name of the keyframe in its data set."""
    scene: str
    """Name of the scene (a drive, a room) it belongs to."""
    timestamp: int
    """Time of the LiDAR keyframe, microseconds."""
    points: NDArray[np.float32]
    """[N, 3] metres, all in the keyframe's LiDAR frame (x forward or right, as in the data set, z up)."""
    features: NDArray[np.float32]
    """[N, F] per point, scaled as in the data set (nuScenes: F = 1, intensity 0..255)."""
    sweep: NDArray[np.uint8]
    """[N] 0 for points of the keyframe, k for those of the k-th earlier sweep; non-decreasing."""
    labels: NDArray[np.uint8] | None
    """[N] 0 = ignored, 1..C the data set's classes; all 0 for sweeps; None if the data set has no labels."""
    cameras: tuple[str, ...]
    """[V] camera names, in the data set's order."""
    images: tuple[bytes, ...]
    """[V] encoded JPEG (or PNG), RGB, all of `image_size`."""
    image_size: tuple[int, int]
    """(height, width) of the stored images, pixels."""
    pair_points: NDArray[np.int32]
    """[M] the point (0..N-1) of each pair."""
    pair_pixels: NDArray[np.int16]
    """[M, 3] its pixel: (image index 0..V-1, row, column) of the stored image. A point that two cameras see makes
    two pairs. Ordered by image, then by point."""
    superpixels: tuple[bytes, ...] | None = None
    """[V] PNG of one channel: the superpixel (0, 1, ...) of each pixel of the stored image; None if there are
    none."""

    def __post_init__(self) -> None:
        n, m = len(self.points), len(self.pair_points)
        assert self.points.shape == (n, 3) and self.points.dtype == np.float32
        assert self.features.ndim == 2 and len(self.features) == n and self.features.dtype == np.float32
        assert self.sweep.shape == (n,) and self.sweep.dtype == np.uint8
        assert self.labels is None or (self.labels.shape == (n,) and self.labels.dtype == np.uint8)
        assert len(self.cameras) == len(self.images)
        assert self.superpixels is None or len(self.superpixels) == len(self.images)
        assert self.pair_points.dtype == np.int32 and self.pair_pixels.dtype == np.int16
        assert self.pair_pixels.shape == (m, 3)

    @property
    def keyframe(self) -> NDArray[np.bool_]:
        """[N] True for the points of the keyframe itself."""
        return self.sweep == 0

    @property
    def seen(self) -> NDArray[np.bool_]:
        """[N] True for points that at least one camera sees."""
        seen = np.zeros(len(self.points), bool)
        seen[self.pair_points] = True
        return seen

    def to_row(self) -> dict[str, Any]:
        """The frame as one Parquet row: arrays as raw little-endian bytes, with their counts."""
        row: dict[str, Any] = {
            "token": self.token,
            "scene": self.scene,
            "timestamp": self.timestamp,
            "n_points": len(self.points),
            "n_features": self.features.shape[1],
            "n_pairs": len(self.pair_points),
            "image_height": self.image_size[0],
            "image_width": self.image_size[1],
            "cameras": list(self.cameras),
            "images": list(self.images),
            "superpixels": None if self.superpixels is None else list(self.superpixels),
        }
        for name, (dtype, _) in ARRAYS.items():
            array = getattr(self, name)
            row[name] = None if array is None else np.ascontiguousarray(array, dtype).tobytes()
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Frame:
        """Inverse of `to_row`; the arrays are read-only views of the row's bytes."""

        def array(name: str) -> Any:
            dtype, width = ARRAYS[name]
            width = row["n_features"] if width == -1 else width
            flat = np.frombuffer(row[name], dtype)
            return flat.reshape(-1, width) if width else flat

        return cls(
            token=row["token"],
            scene=row["scene"],
            timestamp=row["timestamp"],
            labels=None if row["labels"] is None else array("labels"),
            cameras=tuple(row["cameras"]),
            images=tuple(row["images"]),
            superpixels=None if row["superpixels"] is None else tuple(row["superpixels"]),
            image_size=(row["image_height"], row["image_width"]),
            **{name: array(name) for name in ARRAYS if name != "labels"},
        )
