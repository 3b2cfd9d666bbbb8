"""Validation of a segmentation student on held-out frames: mIoU, and agreement between sweeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scenelift.evaluation import metrics
from scenelift.evaluation.metrics import confusion, kappa
from scenelift.evaluation.validation import Counts
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards

if TYPE_CHECKING:
    from scenelift.nn.student import Student

MIOU = "validation/miou"
AGREEMENT = "validation/agreement"
OBJECTIVES = {
    MIOU: "mIoU over all keyframe points of the held-out frames; where the shards have labels",
    AGREEMENT: "Cohen's kappa between a student's labels of the keyframe's voxels and of the same voxels one "
    "sweep earlier; where the shards have sweeps; needs no labels, and is 0 for a constant prediction",
}


@dataclass(frozen=True)
class SegmentationMeasure:
    """mIoU and agreement, as far as the shards allow for them."""

    names: tuple[str, ...]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, shards: Shards, index: int) -> SegmentationMeasure:
        """The metrics of these shards; index: of a held-out frame, which the others resemble."""
        swept = bool(shards.read(index).sweep.max(initial=0))
        names = (*((MIOU,) if shards.about.labeled else ()), *((AGREEMENT,) if swept else ()))
        return cls(names, shards.vocabulary)

    def count(self, student: Student, samples: Iterable[Frame]) -> Counts:
        """[C, C] counts for each metric."""
        classes = len(self.vocabulary.classes)
        counts: Counts = {name: np.zeros((classes, classes), np.int64) for name in self.names}
        for frame in samples:
            labels = student.predict(frame)
            if MIOU in counts:
                assert frame.labels is not None
                counts[MIOU] += confusion(frame.labels[frame.keyframe], labels, classes)
            if AGREEMENT in counts:
                earlier = sweep_alone(frame, 1)
                now = frame.points[frame.keyframe], labels
                before = earlier.points, student.predict(earlier)
                counts[AGREEMENT] += agreement(now, before, student.config.voxels.size, classes)
        return counts

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The metrics of the summed counts."""
        score = {MIOU: lambda matrix: metrics.scores(matrix, self.vocabulary).miou, AGREEMENT: kappa}
        return {name: score[name](matrix) for name, matrix in counts.items()}


def sweep_alone(frame: Frame, sweep: int) -> Frame:
    """A frame whose keyframe points are those of one sweep, without labels and photos."""
    mine = frame.sweep == sweep
    return dataclasses.replace(
        frame,
        points=frame.points[mine],
        features=frame.features[mine],
        sweep=np.zeros(int(mine.sum()), np.uint8),
        labels=None,
        cameras=(),
        images=(),
        pair_points=np.zeros(0, np.int32),
        pair_pixels=np.zeros((0, 3), np.int16),
        superpixels=None,
    )


Labeled = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""[N, 3] points, metres, and [N] their labels."""


def agreement(one: Labeled, other: Labeled, size: float, classes: int) -> NDArray[np.int64]:
    """[C, C] counts of the voxels of edge `size` (metres) with points of both clouds, by label in one and other.

    A student gives all points of a voxel the same label; the first point's is used.
    """
    (cells, first), (others, other_first) = _cells(one[0], size), _cells(other[0], size)
    _, here, there = np.intersect1d(cells, others, assume_unique=True, return_indices=True)
    return confusion(one[1][first[here]], other[1][other_first[there]], classes)


def _cells(points: NDArray[np.float32], size: float) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The occupied cells, as one key each, and the first point of each cell."""
    x, y, z = (np.floor(points / np.float32(size)).astype(np.int64) + (1 << 20)).T
    cells, first = np.unique((x << 42) | (y << 21) | z, return_index=True)
    return cells, first
