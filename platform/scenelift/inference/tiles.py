"""Clouds that are too large for one pass of the network, in tiles with margins."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 1_000_000
"""Points of one pass; the tiny student takes 1.6 GB for them, MinkUNet14A some 6 GB."""
MARGIN_VOXELS = 48
"""Voxels around a tile that its points see: beyond it little reaches them through a U-Net of four levels."""

Rows = NDArray[np.intp]


def tiles(points: NDArray[np.float32], most: int, margin: float) -> Iterator[tuple[Rows, Rows]]:
    """Tiles that together have every point once: (inner, whole), where `whole` are rows of the cloud, in their
    order, and `inner` the rows of `whole` that are the tile's own; the others lie within `margin` metres of it.

    points: [N, 3] metres. A cloud of at most `most` points is one tile. Tiles are cut at the median of x or y, so
    that each has at most `most` points of its own; with its margin it may have more.
    """
    everything = np.arange(len(points))
    for own in _halves(points, everything, most):
        if len(own) == len(points):
            yield everything, everything
            continue
        low, high = points[own, :2].min(0) - margin, points[own, :2].max(0) + margin
        whole = np.flatnonzero(((points[:, :2] >= low) & (points[:, :2] <= high)).all(1))
        yield np.searchsorted(whole, own), whole


def _halves(points: NDArray[np.float32], rows: Rows, most: int) -> Iterator[Rows]:
    if len(rows) <= most:
        yield rows
        return
    flat = points[rows, :2]
    axis = int(np.argmax(np.ptp(flat, axis=0)))
    order = np.argpartition(flat[:, axis], len(rows) // 2)
    for part in (order[: len(rows) // 2], order[len(rows) // 2 :]):
        yield from _halves(points, np.sort(rows[part]), most)
