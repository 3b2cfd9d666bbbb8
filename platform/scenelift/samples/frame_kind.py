"""Frames as shards: their row, and the description of a folder of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import IGNORED, ROW_SCHEMA, Frame
from scenelift.samples.kind import Kind, Manifest
from scenelift.samples.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa


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
                *((name, pa.binary()) for name in ARRAYS),
            ]
        )

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
