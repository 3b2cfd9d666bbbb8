"""Frames -> a batch: augmented clouds, voxels, images and pairs. Shapes: B frames, S clouds (keyframe and drawn
sweeps of every frame, each a sample for the 3D network), N points, V voxels, I images, M pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenelift.errors import DataError
from scenelift.points.augmentation import (
    ENOUGH_AFTER_CUBOID,
    Floats,
    Indices,
    View,
    augment,
    draw_view,
    outside_cuboid,
)
from scenelift.points.config import NO_AUGMENTATION, Augmentation, VoxelConfig
from scenelift.samples.frame import Frame
from scenelift.samples.images import decode, decode_numbers
from scenelift.sparse.sites import Voxels


@dataclass
class PointBatch:
    """Input of a method's step; indices are checked on construction and valid from then on."""

    voxels: Voxels
    """[V] voxels of all S clouds; sample index = cloud index."""
    point_voxel: Tensor
    """[N] int64 the voxel of each point."""
    point_cloud: Tensor
    """[N] int64 the cloud of each point; cloud s belongs to frame s // (S / B)."""
    labels: Tensor
    """[N] int64, 0 = ignored (all 0 if the data set has no labels)."""
    images: Tensor
    """[I, 3, H, W] uint8 RGB, the images of all frames."""
    image_frame: Tensor
    """[I] int64 the frame 0..B-1 of each image."""
    pair_points: Tensor
    """[M] int64 rows of the N points. Pairs are ordered by frame, cloud (the keyframe first), image, point."""
    pair_pixels: Tensor
    """[M, 3] int64 (image 0..I-1, row, column)."""
    pair_cell: Tensor | None
    """[M] int64 the cell of each pair's point in the frame's merged, un-augmented clouds; 0..G-1 over the batch
    (clip2scene.md 1.5). None unless `Collate.grid` is set."""
    superpixels: Tensor | None
    """[I, H, W] int64 superpixel of each pixel, 0.. in each image; None unless `Collate.superpixels` is set."""
    tokens: tuple[str, ...]
    """[B] names of the frames."""

    @property
    def pair_voxel(self) -> Tensor:
        """[M] int64 the voxel of each pair: composes indices, so that no feature is expanded to all points."""
        return self.point_voxel[self.pair_points]

    def to(self, device: torch.device) -> PointBatch:
        """The batch on another device; the voxels' neighbour tables are rebuilt there."""
        sites = dataclasses.replace(self.voxels.sites, coords=self.voxels.sites.coords.to(device), memo={})
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        voxels = Voxels(self.voxels.features.to(device, non_blocking=True), sites)
        return dataclasses.replace(self, voxels=voxels, **moved)


_CELLS = 1 << 20
"""Voxels from the origin to the farthest point: keys of cells stay within 64 bits."""


def voxelise(
    points: Floats, features: Floats, config: VoxelConfig
) -> tuple[NDArray[np.int32], Floats, Indices]:
    """Voxelize a cloud: ([V, 3] cells from 0, [V, C] features, [N] the voxel of each point). Cells are floor(p
    / size), of p or its radius, degrees and z, shifted so that the smallest is 0 along each axis and sorted by
    (x, y, z). DataError for a point that is not finite or too far."""
    if not np.abs(points).max(initial=0) < config.size * _CELLS:  # not for NaN either
        raise DataError(f"a point is not finite, or too far for voxels of {config.size:g} m")
    cells = np.floor(_in_cells(points, config)).astype(np.int64)
    cells -= cells.min(0) if len(cells) else 0
    _, first, inverse = np.unique(_keys(cells), return_index=True, return_inverse=True)
    scaled = features * np.float32(config.feature_scale) + np.float32(config.feature_offset)
    if config.features == "first":
        return cells[first].astype(np.int32), scaled[first], inverse
    count = np.bincount(inverse, minlength=len(first)).astype(np.float32)[:, None]
    above = points[:, 2:] - np.floor(points[:, 2:] / np.float32(config.size)) * np.float32(config.size)
    columns = np.concatenate((scaled, points[:, 2:], above), 1)
    sums = np.stack([np.bincount(inverse, column, len(first)) for column in columns.T], 1)
    mean = (sums / np.maximum(count, 1)).astype(np.float32)
    return cells[first].astype(np.int32), np.concatenate((mean, np.log1p(count)), 1), inverse


def _in_cells(points: Floats, config: VoxelConfig) -> Floats:
    """[N, 3] positions along the grid's axes, in cells."""
    if config.grid == "cartesian":
        return points / np.float32(config.size)
    x, y, z = points.T
    radius, degrees = np.hypot(x, y), np.degrees(np.arctan2(y, x))
    return np.stack((radius / np.float32(config.size), degrees, z / np.float32(config.size)), 1)


def _keys(cells: NDArray[np.int64]) -> Indices:
    """[N] a number per cell, in the order of (x, y, z); cells: [N, 3] from 0."""
    extent = cells.max(0, initial=0) + 1
    return (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]


@dataclass(frozen=True)
class Collate:
    """Makes batches; randomness depends on (seed, epoch, frame) alone, so any step can be reproduced."""

    voxels: VoxelConfig
    augmentation: Augmentation = NO_AUGMENTATION
    seed: int = 0
    images: bool = True
    """Decode the images (the 3D network alone does not need them)."""
    superpixels: bool = False
    """Decode the superpixels; DataError if the shards have none."""
    grid: float | None = None
    """Edge length of the cells of `PointBatch.pair_cell`, metres; None: no cells."""

    def __call__(self, frames: Sequence[Frame], epoch: int = 0) -> PointBatch:
        """Collate B frames; DataError if a frame has fewer sweeps than requested."""
        merged = _Merged(self)
        for number, frame in enumerate(frames):
            rng = self._rng(frame, epoch)
            merged.add(number, frame, _clouds(frame, self.augmentation, rng), rng)
        return merged.batch(frames)

    def _rng(self, frame: Frame, epoch: int) -> np.random.Generator:
        key = np.frombuffer(frame.token.encode().ljust(4, b"\0"), np.uint8)
        return np.random.default_rng([self.seed, epoch, *key.tolist()])


Cloud = tuple[Indices, Floats]
"""The rows of a frame's points that form a cloud of the batch, and their augmented positions."""


def _clouds(frame: Frame, config: Augmentation, rng: np.random.Generator) -> list[Cloud]:
    """The clouds of a frame that enter the batch, the keyframe first."""
    stored = int(frame.sweep.max(initial=0))
    if config.lidar_sweeps > stored:
        raise DataError(
            f"frame {frame.token} has {stored} sweeps, {config.lidar_sweeps} are requested; make shards with "
            "--lidar_sweeps"
        )
    drawn = [0, *(1 + rng.choice(stored, config.lidar_sweeps, replace=False) if config.lidar_sweeps else [])]
    clouds = []
    for sweeps in [drawn] if config.merge else [[sweep] for sweep in drawn]:
        rows = np.flatnonzero(np.isin(frame.sweep, sweeps))
        points = augment(frame.points[rows], config, rng)
        if config.drop_cuboid and len(rows):
            kept = outside_cuboid(points, config.drop_cuboid, rng)
            if _enough_pairs(frame, rows[kept]):
                rows, points = rows[kept], points[kept]
        clouds.append((rows, points))
    return clouds


def _enough_pairs(frame: Frame, rows: Indices) -> bool:
    """Whether every photo of a frame has enough pairs of some of its points."""
    among = np.zeros(len(frame.points), bool)
    among[rows] = True
    pairs = np.bincount(frame.pair_pixels[among[frame.pair_points], 0], minlength=len(frame.images))
    return bool((pairs >= ENOUGH_AFTER_CUBOID).all())


class _Merged:
    """Concatenated frames, with every index shifted accordingly."""

    def __init__(self, config: Collate) -> None:
        self.config = config
        self.coords: list[NDArray[np.int32]] = []
        self.features: list[Floats] = []
        self.point_voxel: list[Indices] = []
        self.labels: list[NDArray[np.uint8]] = []
        self.pair_points: list[Indices] = []
        self.pair_pixels: list[Indices] = []
        self.pair_cells: list[Indices] = []
        self.images: list[Tensor] = []
        self.superpixels: list[Tensor] = []
        self.image_frame: list[int] = []
        self.points = self.voxels = self.cells = 0

    def add(self, number: int, frame: Frame, clouds: list[Cloud], rng: np.random.Generator) -> None:
        """Add a frame's clouds, its photos, and the pairs between them: cloud by cloud, image by image."""
        config = self.config.augmentation.image
        count = len(frame.images)
        chosen = np.arange(count)
        if 0 < config.views < count:
            chosen = np.sort(rng.choice(count, config.views, replace=False))
        everything = np.concatenate([rows for rows, _ in clouds])
        used: list[Indices] = []
        views: list[View] = []
        for rows, points in clouds:
            if config.per_cloud or not views:
                views = self._photos(number, frame, chosen, rows if config.per_cloud else everything, rng)
            place = np.full(len(frame.points), -1, np.int64)
            place[rows] = np.arange(len(rows)) + self.points
            used.append(self._pairs(frame, chosen, views, place))
            self._cloud(frame, rows, points)
        if self.config.grid is not None:
            self._cells(frame, np.concatenate(used), self.config.grid)

    def _cloud(self, frame: Frame, rows: Indices, points: Floats) -> None:
        try:
            cells, features, point_voxel = voxelise(points, frame.features[rows], self.config.voxels)
        except DataError as error:
            raise DataError(f"frame {frame.token}: {error}") from None
        sample = np.full((len(cells), 1), len(self.coords), np.int32)
        self.coords.append(np.concatenate((sample, cells), 1))
        self.features.append(features)
        self.point_voxel.append(point_voxel + self.voxels)
        self.labels.append(np.zeros(len(rows), np.uint8) if frame.labels is None else frame.labels[rows])
        self.points += len(rows)
        self.voxels += len(cells)

    def _photos(
        self, number: int, frame: Frame, chosen: Indices, rows: Indices, rng: np.random.Generator
    ) -> list[View]:
        """Draw a view of each chosen photo and add it; crops keep enough pairs of the points at `rows`."""
        config = self.config.augmentation.image
        member = np.zeros(len(frame.points), bool)
        member[rows] = True
        kept = member[frame.pair_points]
        views = []
        for image in chosen.tolist():
            pixels = frame.pair_pixels[kept & (frame.pair_pixels[:, 0] == image)].astype(np.int64)
            view = draw_view(pixels[:, 1], pixels[:, 2], frame.image_size, config, rng)
            views.append(view)
            self.image_frame.append(number)
            if self.config.images:
                stored = torch.from_numpy(decode(frame.images[image])).permute(2, 0, 1)
                self.images.append(view.image(stored))
            if self.config.superpixels:
                if frame.superpixels is None:
                    raise DataError(f"{frame.token} has no superpixels; make shards with --superpixels 150")
                stored = torch.from_numpy(decode_numbers(frame.superpixels[image]))
                self.superpixels.append(view.segments(stored))
        return views

    def _pairs(self, frame: Frame, chosen: Indices, views: list[View], place: Indices) -> Indices:
        """Add a cloud's pairs; returns their rows in the frame. place: [N_frame] batch row of its points, or -1."""
        of_cloud = np.flatnonzero(place[frame.pair_points] >= 0)
        first = len(self.image_frame) - len(views)
        used = [np.zeros(0, np.int64)]
        for offset, (image, view) in enumerate(zip(chosen.tolist(), views, strict=True)):
            pairs = of_cloud[frame.pair_pixels[of_cloud, 0] == image]
            rows, columns = frame.pair_pixels[pairs, 1:].astype(np.int64).T
            rows, columns, inside = view.pixels(rows, columns)
            number = np.full(int(inside.sum()), first + offset)
            self.pair_pixels.append(np.stack([number, rows[inside], columns[inside]], 1))
            self.pair_points.append(place[frame.pair_points[pairs[inside]]])
            used.append(pairs[inside])
        return np.concatenate(used)

    def _cells(self, frame: Frame, pairs: Indices, grid: float) -> None:
        """Number the cells of the merged, un-augmented cloud that contain the pairs' points."""
        cells = np.floor(frame.points[frame.pair_points[pairs]] / np.float32(grid)).astype(np.int64)
        if not len(cells):
            return
        occupied, number = np.unique(_keys(cells - cells.min(0)), return_inverse=True)
        self.pair_cells.append(number + self.cells)
        self.cells += len(occupied)

    def batch(self, frames: Sequence[Frame]) -> PointBatch:
        coords = torch.from_numpy(np.concatenate(self.coords))
        shape = (coords[:, 1:].amax(0) + 1).tolist() if len(coords) else [1, 1, 1]
        features = torch.from_numpy(np.concatenate(self.features))
        counts = torch.tensor([len(part) for part in self.point_voxel])
        cells = np.concatenate([np.zeros(0, np.int64), *self.pair_cells])
        return PointBatch(
            voxels=Voxels.checked(features, coords, (shape[0], shape[1], shape[2]), len(self.coords)),
            point_voxel=torch.from_numpy(np.concatenate(self.point_voxel)),
            point_cloud=torch.repeat_interleave(torch.arange(len(counts)), counts),
            labels=torch.from_numpy(np.concatenate(self.labels)).long(),
            images=_stacked(self.images),
            image_frame=torch.tensor(self.image_frame, dtype=torch.int64),
            pair_points=torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *self.pair_points])),
            pair_pixels=torch.from_numpy(np.concatenate([np.zeros((0, 3), np.int64), *self.pair_pixels])),
            pair_cell=None if self.config.grid is None else torch.from_numpy(cells),
            superpixels=torch.stack(self.superpixels) if self.superpixels else None,
            tokens=tuple(frame.token for frame in frames),
        )


def _stacked(images: list[Tensor]) -> Tensor:
    """[3, H, W] images -> [I, 3, H, W]; channels stay last in memory, as decoded."""
    if not images:
        return torch.zeros((0, 3, 1, 1), dtype=torch.uint8)
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
