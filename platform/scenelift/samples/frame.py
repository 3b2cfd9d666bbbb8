"""Samples of 3D scenes: a scan with its point cloud, images and point-pixel pairs; its row in shards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.config import ReadOptions
from scenelift.samples.kind import Kind, Manifest
from scenelift.samples.vocabulary import Vocabulary

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
    """[M, 3] its pixel: (image index 0..V-1, row, column) of the stored image. A point that two cameras see
    makes two pairs. Ordered by image, then by point."""
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


ROW_SCHEMA = pa.schema(
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
"""Arrow schema of a frame's row."""


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
        about = dict(manifest.about)
        words = about.pop("vocabulary")
        return cls(
            vocabulary=Vocabulary(
                name=words["name"],
                classes=tuple(words["classes"]),
                words=tuple(tuple(group) for group in words["words"]),
                colors=tuple(tuple(color) for color in words["colors"]),
            ),
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
    schema = ROW_SCHEMA
    # Measured on the real nuScenes frame (34,688 points, six 224x416 JPEGs; 2 cores): reading one random frame
    # takes 0.3 ms of CPU uncompressed, 0.4 ms with lz4 and 0.9 ms with zstd-1 at 1.00, 0.79 and 0.66 of the
    # size. JPEGs and PNGs do not compress any further.
    compressed = frozenset(("points", "features", "sweep", "labels", "pair_points", "pair_pixels"))
    make_command = "python -m datasets.shard nuscenes --root ROOT"

    def read(self, source: Any, keyframe: Any, options: ReadOptions) -> Frame:
        """The adapter's frame, with superpixels if requested."""
        frame = super().read(source, keyframe, options)
        from scenelift.samples.superpixels import with_superpixels  # which reading shards can spare

        return with_superpixels(frame, options.superpixels) if options.superpixels else frame

    def decides(self, source: Any) -> Any:
        """The classes, their words and their colors."""
        return [source.vocabulary.version, source.vocabulary.colors]

    def to_row(self, sample: Frame) -> dict[str, Any]:
        return sample.to_row()

    def from_row(self, row: dict[str, Any]) -> Frame:
        return Frame.from_row(row)

    def summarize(self, samples: Sequence[Frame], source: Any) -> dict[str, Any]:
        labels = [_label_counts(frame, source.vocabulary) for frame in samples if frame.labels is not None]
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

    def describe(
        self, summaries: Sequence[dict[str, Any]], source: Any, options: ReadOptions
    ) -> dict[str, Any]:
        cameras = tuple(dict.fromkeys(camera for summary in summaries for camera in summary["pairs"]))
        vocabulary = source.vocabulary
        return asdict(
            FrameSet(
                vocabulary=vocabulary,
                image_size=options.image_size,
                lidar_sweeps=options.lidar_sweeps,
                superpixels=options.superpixels,
                cameras=cameras,
                points=sum(summary["points"] for summary in summaries),
                pairs={
                    camera: sum(summary["pairs"].get(camera, 0) for summary in summaries)
                    for camera in cameras
                },
                labels=_labels(vocabulary.classes, [summary["labels"] for summary in summaries]),
            )
        )


FRAME = FrameKind()


def _label_counts(frame: Frame, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """[C + 1] points of the keyframe itself by label; its sweeps have no labels."""
    assert frame.labels is not None
    counts = np.bincount(frame.labels[frame.keyframe], minlength=len(vocabulary.classes) + 1)
    assert len(counts) == len(vocabulary.classes) + 1, "a label that is not in the vocabulary"
    return counts


def _labels(classes: Sequence[str], counts: Sequence[list[int] | None]) -> dict[str, int] | None:
    known = [count for count in counts if count is not None]
    if not known:
        return None
    total = np.sum(known, 0).tolist()
    return dict(zip(classes, total[IGNORED + 1 :], strict=True)) | {"ignored": total[IGNORED]}
