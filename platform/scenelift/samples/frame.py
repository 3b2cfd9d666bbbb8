"""Samples of 3D scenes: a scan with its point cloud, images and point-pixel pairs; its row in shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scenelift.config.build import from_dict
from scenelift.samples.config import ReadOptions
from scenelift.samples.kind import Kind, Manifest, SampleSource, from_bytes, to_bytes
from scenelift.samples.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

IGNORED = 0
"""Label of points that are not evaluated; the classes of a data set are 1..C."""

_ARRAYS = {
    "points": ("<f4", 3),
    "features": ("<f4", -1),
    "sweep": ("u1", 0),
    "labels": ("u1", 0),
    "pair_points": ("<i4", 0),
    "pair_pixels": ("<i2", 3),
}
"""Column -> (dtype on disk, row width); width 0: a flat array, -1: the frame's number of features."""


@dataclass(frozen=True)
class Frame:
    """One keyframe of a data set, projected: all that training and evaluation read. Shapes: N points of the
    keyframe and its LiDAR sweeps together, F features per point, V images, M pairs."""

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
    """[M, 3] its pixel: (image index 0..V-1, row, column) of the stored image. A point that two cameras see
    makes two pairs. Ordered by image, then by point."""
    superpixels: tuple[bytes, ...] | None = None
    """[V] PNG of one channel: the superpixel (0, 1, ...) of each pixel of the stored image; None: none."""

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


class Source(SampleSource, Protocol):
    """A data set of frames."""

    vocabulary: Vocabulary

    def read(self, keyframe: Any, options: ReadOptions) -> Frame:
        """Read and project one keyframe; FrameError says what is wrong with its files."""


@dataclass(frozen=True)
class FrameSet:
    """Description of a folder of frames."""

    vocabulary: Vocabulary
    """Meaning of the labels."""
    image_size: tuple[int, int]
    """(height, width) of the stored images, pixels."""
    lidar_sweeps: int
    """Earlier LiDAR sweeps in every frame."""
    superpixels: int
    """SLIC segments requested per image; 0: the frames have no superpixels."""
    cameras: tuple[str, ...]
    points: int
    """Points of all frames, with their sweeps."""
    pairs: Mapping[str, int]
    """Camera -> point-pixel pairs."""
    labels: Mapping[str, int] | None
    """Class, or `ignored` -> points of the keyframes themselves; None if the data set has no labels."""

    @classmethod
    def of(cls, manifest: Manifest) -> FrameSet:
        """From the manifest of a folder of frames."""
        about = manifest.about
        return cls(
            vocabulary=from_dict(Vocabulary, about["vocabulary"]),
            image_size=(about["image_size"][0], about["image_size"][1]),
            cameras=tuple(about["cameras"]),
            **{name: about[name] for name in ("lidar_sweeps", "superpixels", "points", "pairs", "labels")},
        )

    @property
    def labeled(self) -> bool:
        """Whether any point of a keyframe has a class."""
        return any(count for name, count in (self.labels or {}).items() if name != "ignored")


class FrameKind(Kind[Frame]):
    """Keyframes with points, images and the pairs between them."""

    name = "frame"
    schema_version = 3
    # Measured on the real nuScenes frame (34,688 points, six 224x416 JPEGs; 2 cores): reading one random frame
    # takes 0.3 ms of CPU uncompressed, 0.4 ms with lz4 and 0.9 ms with zstd-1 at 1.00, 0.79 and 0.66 of the
    # size. JPEGs and PNGs do not compress any further.
    compressed = frozenset(("points", "features", "sweep", "labels", "pair_points", "pair_pixels"))
    make_command = "python -m datasets.shard nuscenes --root ROOT"

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [
                ("token", pa.string()),
                ("scene", pa.string()),
                ("timestamp", pa.int64()),
                ("n_points", pa.int32()),
                ("n_features", pa.int32()),
                ("n_pairs", pa.int32()),
                ("image_height", pa.int32()),
                ("image_width", pa.int32()),
                ("cameras", pa.list_(pa.string())),
                ("images", pa.list_(pa.binary())),
                ("superpixels", pa.list_(pa.binary())),
                *((name, pa.binary()) for name in _ARRAYS),
            ]
        )

    def read(self, source: Any, keyframe: Any, options: ReadOptions) -> Frame:
        """The adapter's frame, with superpixels if requested."""
        frame = super().read(source, keyframe, options)
        return with_superpixels(frame, options.superpixels) if options.superpixels else frame

    def decides(self, source: Any) -> Any:
        """The classes, their words and their colors."""
        return [source.vocabulary.version, source.vocabulary.colors]

    def to_row(self, sample: Frame) -> dict[str, Any]:
        return {
            "token": sample.token,
            "scene": sample.scene,
            "timestamp": sample.timestamp,
            "n_points": len(sample.points),
            "n_features": sample.features.shape[1],
            "n_pairs": len(sample.pair_points),
            "image_height": sample.image_size[0],
            "image_width": sample.image_size[1],
            "cameras": list(sample.cameras),
            "images": list(sample.images),
            "superpixels": None if sample.superpixels is None else list(sample.superpixels),
            **to_bytes(sample, _ARRAYS),
        }

    def from_row(self, row: dict[str, Any]) -> Frame:
        return Frame(
            token=row["token"],
            scene=row["scene"],
            timestamp=row["timestamp"],
            cameras=tuple(row["cameras"]),
            images=tuple(row["images"]),
            superpixels=None if row["superpixels"] is None else tuple(row["superpixels"]),
            image_size=(row["image_height"], row["image_width"]),
            **from_bytes(row, {**_ARRAYS, "features": ("<f4", row["n_features"])}),
        )

    def summarize(self, samples: Sequence[Frame], source: Any) -> dict[str, Any]:
        size = 1 + len(source.vocabulary.classes)
        labels = [
            np.bincount(frame.labels[frame.keyframe], minlength=size)
            for frame in samples
            if frame.labels is not None
        ]
        assert all(len(counts) == size for counts in labels), "a label that is not in the vocabulary"
        pairs: dict[str, int] = {}
        for frame in samples:
            seen = np.bincount(frame.pair_pixels[:, 0], minlength=len(frame.cameras))
            for camera, count in zip(frame.cameras, seen.tolist(), strict=True):
                pairs[camera] = pairs.get(camera, 0) + count
        return {
            "points": sum(len(frame.points) for frame in samples),
            "pairs": pairs,
            "labels": np.sum(labels, 0).tolist() if labels else None,
        }

    def describe(self, summaries: Sequence[dict[str, Any]], source: Any, options: Any) -> dict[str, Any]:
        cameras = tuple(dict.fromkeys(camera for summary in summaries for camera in summary["pairs"]))
        known = [summary["labels"] for summary in summaries if summary["labels"] is not None]
        labels = None
        if known:
            ignored, *counts = np.sum(known, 0).tolist()
            labels = dict(zip(source.vocabulary.classes, counts, strict=True)) | {"ignored": ignored}
        return asdict(
            FrameSet(
                vocabulary=source.vocabulary,
                image_size=options.image_size,
                lidar_sweeps=options.lidar_sweeps,
                superpixels=options.superpixels,
                cameras=cameras,
                points=sum(summary["points"] for summary in summaries),
                pairs={
                    camera: sum(summary["pairs"].get(camera, 0) for summary in summaries)
                    for camera in cameras
                },
                labels=labels,
            )
        )


FRAME = FrameKind()


def with_superpixels(frame: Frame, segments: int) -> Frame:
    """The frame with about `segments` superpixels per image; FrameError for a broken image."""
    from scenelift.samples import images  # not needed to read shards

    encoded = (images.encode_numbers(images.slic(images.decode(image), segments)) for image in frame.images)
    return dataclasses.replace(frame, superpixels=tuple(encoded))
