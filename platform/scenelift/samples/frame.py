"""Samples of 3D scenes: a scan with its point cloud, images and point-pixel pairs; its row in shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from scenelift.config.build import from_dict
from scenelift.errors import FrameError
from scenelift.samples.config import ReadOptions
from scenelift.samples.kind import Kind, Manifest, SampleSource, from_bytes, left_out, require_types, to_bytes
from scenelift.samples.plausible import (
    require_array,
    require_finite,
    require_indices,
    require_metres,
    require_range,
    together,
)
from scenelift.samples.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

IGNORED = 0
"""Label of points that are not evaluated; the classes of a data set are 1..C."""

_TIMES = 1 << 63
"""Times are stored as 64 bits."""

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

    left_out: Mapping[str, int] = field(default_factory=dict)
    """What the reader left out of the frame's files, reason -> number, for the report; not stored."""

    def __post_init__(self) -> None:
        n, m, token = len(self.points), len(self.pair_points), self.token
        require_array(token, "points", self.points, np.float32, (n, 3))
        require_array(token, "features", self.features, np.float32, (n, None))
        require_array(token, "sweep", self.sweep, np.uint8, (n,))
        if self.labels is not None:
            require_array(token, "labels", self.labels, np.uint8, (n,))
        require_array(token, "pair_points", self.pair_points, np.int32, (m,))
        require_array(token, "pair_pixels", self.pair_pixels, np.int16, (m, 3))
        for name, parts in (("images", self.images), ("superpixels", self.superpixels)):
            if parts is not None and len(parts) != len(self.cameras):
                raise FrameError(f"{token} has {len(parts)} {name} for {len(self.cameras)} cameras")

    @classmethod
    def of_cloud(cls, token: str, points: NDArray[np.float32], features: NDArray[np.float32]) -> Self:
        """A frame that is a point cloud alone, without photos and labels: points [N, 3], features [N, F]."""
        return cls(
            token=token,
            scene=token,
            timestamp=0,
            points=points,
            features=features,
            sweep=np.zeros(len(points), np.uint8),
            labels=None,
            cameras=(),
            images=(),
            image_size=(1, 1),
            pair_points=np.zeros(0, np.int32),
            pair_pixels=np.zeros((0, 3), np.int16),
        )

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
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What of the data set's files is not in the frames: reason -> number."""

    @classmethod
    def of(cls, manifest: Manifest) -> FrameSet:
        """From the manifest of a folder of frames."""
        return cls.read(manifest.about)

    @classmethod
    def read(cls, about: Mapping[str, Any]) -> FrameSet:
        """From what `FrameKind.describe` wrote."""
        return cls(
            vocabulary=from_dict(Vocabulary, about["vocabulary"]),
            image_size=(about["image_size"][0], about["image_size"][1]),
            cameras=tuple(about["cameras"]),
            left_out=about.get("left_out", {}),
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

    def made(self, source: Any, keyframe: Any, options: ReadOptions) -> Frame:
        """The adapter's frame, with superpixels if requested."""
        frame = super().made(source, keyframe, options)
        return with_superpixels(frame, options.superpixels) if options.superpixels else frame

    def check(self, sample: Frame, source: Any) -> None:
        """Its points are near and finite, its labels of the source's classes, its pairs inside of points and
        images, its images of the stored size."""
        from scenelift.samples.images import header_size  # not needed to read shards

        classes = len(source.vocabulary.classes)
        require_metres(sample.token, sample.points)
        require_finite(sample.token, sample.features, "features")
        if not len(sample.points):
            raise FrameError(f"{sample.token} has no points")
        if not -_TIMES <= sample.timestamp < _TIMES:
            raise FrameError(f"{sample.token} has the time {sample.timestamp:.3g}; it is in microseconds")
        if sample.labels is not None:
            require_range(sample.token, sample.labels, 0, classes, "labels")
        limits = (len(sample.images), *sample.image_size)
        require_indices(sample.token, "pair_points", sample.pair_points, len(sample.points))
        for name, column, limit in zip(("image", "row", "column"), sample.pair_pixels.T, limits, strict=True):
            require_indices(sample.token, f"{name} of pair_pixels", column, limit)
        for camera, image in zip(sample.cameras, sample.images, strict=True):
            if (found := header_size(image)) != tuple(sample.image_size):
                raise FrameError(f"{sample.token}: the image of {camera} is {found}, not {sample.image_size}")

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
        unpaired = sum(bool(frame.images) and not len(frame.pair_points) for frame in samples)
        blank = sum(frame.labels is not None and not frame.labels.any() for frame in samples)
        lost = {
            "frames without a point in any image": unpaired,
            "frames whose labels are all ignored": blank,
        }
        return {
            "points": sum(len(frame.points) for frame in samples),
            "pairs": pairs,
            "labels": np.sum(labels, 0).tolist() if labels else None,
            "left_out": together(lost, *(frame.left_out for frame in samples)),
        }

    def check_about(self, about: Mapping[str, Any]) -> None:
        counts: dict[str, Any] = {"lidar_sweeps": int, "superpixels": int, "points": int, "pairs": dict}
        require_types(about, counts | {"cameras": list, "labels": dict | None})
        height, width = about["image_size"]
        if not 0 < height * width < 2**31:
            raise ValueError(f"images of {height} x {width} pixels")
        FrameSet.read(about)

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
                left_out=left_out(summaries, source),
            )
        )


FRAME = FrameKind()


def with_superpixels(frame: Frame, segments: int) -> Frame:
    """The frame with about `segments` superpixels per image; FrameError for a broken image."""
    from scenelift.samples import images  # not needed to read shards

    encoded = (images.encode_numbers(images.slic(images.decode(image), segments)) for image in frame.images)
    return dataclasses.replace(frame, superpixels=tuple(encoded))
