"""Axis-aligned boxes in 3D: six numbers, centre x, y, z and size x, y, z, metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]


def iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Volume of the intersection over that of the union (ws3dvg.md 10.1); 0 for boxes without volume. a, b:
    [..., 6], broadcast against each other. A box with NaN overlaps nothing."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(a[..., :3] - a[..., 3:] / 2, b[..., :3] - b[..., 3:] / 2)
    high = np.minimum(a[..., :3] + a[..., 3:] / 2, b[..., :3] + b[..., 3:] / 2)
    inside = np.clip(high - low, 0, None).prod(-1)
    return np.nan_to_num(inside / (a[..., 3:].prod(-1) + b[..., 3:].prod(-1) - inside + 1e-8))


def corners(boxes: NDArray[np.floating]) -> NDArray[np.float32]:
    """[..., 6] -> [..., 8, 3], x fastest, then y, then z, each from low to high."""
    signs = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], np.float32)
    return (boxes[..., None, :3] + boxes[..., None, 3:] / 2 * signs).astype(np.float32)


def from_corners(points: NDArray[np.floating]) -> Boxes:
    """[..., P, 3] -> [..., 6] the smallest box around the points."""
    low, high = points.min(-2), points.max(-2)
    return np.concatenate([(low + high) / 2, high - low], -1).astype(np.float32)
