"""Boxes in images: x1, y1, x2, y2 in pixels from the upper left corner, x1 <= x2 and y1 <= y2."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Boxes = NDArray[np.float32]
"""[N, 4]."""


def iou(some: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """[A, B] intersection over union of [A, 4] and [B, 4] boxes; 0 where both have no area."""
    one, two = np.asarray(some, np.float64), np.asarray(others, np.float64)
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    shared = (high - low).clip(min=0).prod(2)
    union = area(one)[:, None] + area(two)[None, :] - shared
    return shared / np.where(union > 0, union, 1)


def area(boxes: ArrayLike) -> NDArray[np.float64]:
    """[N] square pixels of [N, 4] boxes."""
    boxes = np.asarray(boxes, np.float64)
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)


def union(boxes: ArrayLike) -> Boxes:
    """[4] the smallest box around [N, 4] boxes, N > 0."""
    boxes = np.asarray(boxes, np.float32)
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def clip(boxes: ArrayLike, size: tuple[int, int]) -> Boxes:
    """[N, 4] boxes cut to an image of (height, width) pixels; those outside it end up without area."""
    height, width = size
    return np.clip(np.asarray(boxes, np.float32), 0, np.array([width, height] * 2, np.float32))


def neighbours(boxes: Boxes, count: int) -> NDArray[np.int16]:
    """[R, min(count, R)] the boxes with the largest IoU with each box, itself first; ties by index (ckd.md
    5.3)."""
    overlap = iou(boxes, boxes)
    np.fill_diagonal(overlap, 2)
    return np.argsort(-overlap, axis=1, kind="stable")[:, :count].astype(np.int16)
