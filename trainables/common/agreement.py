"""Agreement of a student with itself, between a keyframe and an earlier sweep, for which no labels are needed."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from scenelift.evaluation.metrics import confusion
from scenelift.samples.frame import Frame


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
    """[C, C] counts of the voxels of edge `size` (metres) with points of both clouds, by the labels of their first
    points in one and other: a student gives all points of a voxel the same label."""
    (cells, first), (others, other_first) = _cells(one[0], size), _cells(other[0], size)
    _, here, there = np.intersect1d(cells, others, assume_unique=True, return_indices=True)
    return confusion(one[1][first[here]], other[1][other_first[there]], classes)


def _cells(points: NDArray[np.float32], size: float) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The occupied cells, as one key each, and the first point of each cell."""
    x, y, z = (np.floor(points / np.float32(size)).astype(np.int64) + (1 << 20)).T
    cells, first = np.unique((x << 42) | (y << 21) | z, return_index=True)
    return cells, first
