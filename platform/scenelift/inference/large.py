"""Clouds of any size in constant memory: sorted into cells on disk, labelled tile by tile, back in their order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError
from scenelift.io import storage

CELL = 8.0
"""Edge of a cell, metres, where the cloud is small enough for it."""
_MOST_CELLS = 1 << 20
"""Cells along x times cells along y."""

Points = NDArray[np.floating]
Features = NDArray[np.float32]
Parts = Callable[[], Iterator[tuple[Points, Features]]]
"""Reads the cloud again: consecutive points [n, 3] and features [n, F]."""
Block = tuple[Points, Features, NDArray[np.int64], NDArray[np.bool_]]
"""Points of a tile with its margin, their features, their numbers in the cloud, and which are the tile's own."""


@dataclass(frozen=True)
class _Grid:
    """Cells of the x-y plane, row by row along x."""

    low: NDArray[np.float64]
    edge: float
    shape: tuple[int, int]

    @classmethod
    def over(cls, low: NDArray[np.float64], high: NDArray[np.float64]) -> _Grid:
        size = np.maximum(high - low, 1e-6)
        edge = max(CELL, float(np.sqrt(np.prod(size) / _MOST_CELLS)), float(size.max()) / (_MOST_CELLS // 2))
        nx, ny = (np.floor(size / edge).astype(int) + 1).tolist()
        return cls(low, edge, (nx, ny))

    def of(self, points: Points) -> NDArray[np.int64]:
        """[n] the cell of each finite point."""
        cell = np.floor((points[:, :2] - self.low) / self.edge).astype(np.int64)
        return cell[:, 0] * self.shape[1] + cell[:, 1]


def blocks(parts: Parts, channels: int, most: int, margin: float, folder: Path) -> Iterator[Block]:
    """The finite points of a cloud in tiles of about `most` points, each with what lies within `margin` metres.

    The points are first copied into `folder`, sorted by cell: 32 bytes and 4 a feature for each. A tile is a
    rectangle of cells; a single cell with more points than `most` is one tile, to be cut further in memory.
    """
    low, high, count = _extent(parts)
    if not count:
        return
    grid = _Grid.over(low, high)
    counts = np.zeros(grid.shape[0] * grid.shape[1], np.int64)
    for points, _ in parts():
        counts += np.bincount(grid.of(points[np.isfinite(points).all(1)]), minlength=len(counts))
    starts = np.concatenate([[0], np.cumsum(counts)])
    record = np.dtype([("point", "<f8", 3), ("number", "<i8"), ("feature", "<f4", (channels,))])
    storage.require_space(folder, record.itemsize * count)
    with tempfile.TemporaryFile(dir=folder) as file:
        sorted_points = np.memmap(file, record, "w+", shape=(count,))
        _sort(parts, grid, starts, sorted_points)
        reach = int(np.ceil(margin / grid.edge))
        for x0, x1, y0, y1 in _rectangles(counts.reshape(grid.shape), most):
            yield _block(sorted_points, starts, grid, (x0, x1, y0, y1), reach, margin)


def _extent(parts: Parts) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    low, high, count = np.full(2, np.inf), np.full(2, -np.inf), 0
    for points, _ in parts():
        flat = points[np.isfinite(points).all(1), :2].astype(np.float64)
        if len(flat):
            low, high = np.minimum(low, flat.min(0)), np.maximum(high, flat.max(0))
        count += len(flat)
    if count and (high - low).max() > 1e7:
        raise DataError(f"the cloud is {(high - low).max():.3g} m across; cut off points that lie astray")
    return low, high, count


def _sort(parts: Parts, grid: _Grid, starts: NDArray[np.int64], into: NDArray[np.void]) -> None:
    filled, seen = starts[:-1].copy(), 0
    for points, features in parts():
        rows = np.flatnonzero(np.isfinite(points).all(1))
        cell = grid.of(points[rows])
        order = np.argsort(cell, kind="stable")
        rows, cell = rows[order], cell[order]
        fresh, first, each = np.unique(cell, return_index=True, return_counts=True)
        places = filled[cell] + np.arange(len(cell)) - np.repeat(first, each)
        filled[fresh] += each
        into["point"][places] = points[rows]
        into["number"][places] = seen + rows
        into["feature"][places] = features[rows]
        seen += len(points)


def _rectangles(counts: NDArray[np.int64], most: int) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles of cells (x0, x1, y0, y1) with at most `most` points, or of one cell, that have all points."""
    waiting = [(0, counts.shape[0], 0, counts.shape[1])]
    while waiting:
        x0, x1, y0, y1 = waiting.pop()
        part = counts[x0:x1, y0:y1]
        if (total := int(part.sum())) == 0:
            continue
        if total <= most or part.size == 1:
            yield x0, x1, y0, y1
            continue
        along_x = part.shape[0] >= part.shape[1]
        sums = np.cumsum(part.sum(1 if along_x else 0))
        cut = int(np.clip(np.searchsorted(sums, total / 2) + 1, 1, len(sums) - 1))
        halves = [(x0, x0 + cut, y0, y1), (x0 + cut, x1, y0, y1)]
        waiting += halves if along_x else [(x0, x1, y0, y0 + cut), (x0, x1, y0 + cut, y1)]


def _block(
    points: NDArray[np.void],
    starts: NDArray[np.int64],
    grid: _Grid,
    cells: tuple[int, int, int, int],
    reach: int,
    margin: float,
) -> Block:
    x0, x1, y0, y1 = cells
    rows, own = [], []
    for x in range(max(0, x0 - reach), min(grid.shape[0], x1 + reach)):
        first = x * grid.shape[1]
        bounds = (max(0, y0 - reach), y0, y1, min(grid.shape[1], y1 + reach))
        left, begin, end, right = (int(starts[first + y]) for y in bounds)
        rows.append(np.arange(left, right))
        own.append((rows[-1] >= begin) & (rows[-1] < end) & (x0 <= x < x1))
    taken, mine = points[np.concatenate(rows)], np.concatenate(own)
    low = grid.low + np.array([x0, y0]) * grid.edge - margin
    high = grid.low + np.array([x1, y1]) * grid.edge + margin
    near = mine | ((taken["point"][:, :2] >= low) & (taken["point"][:, :2] <= high)).all(1)
    chosen = taken[near]
    order = np.argsort(chosen["number"], kind="stable")  # as a whole cloud is: a voxel's first point counts
    chosen = chosen[order]
    return chosen["point"], chosen["feature"], chosen["number"], mine[near][order]
