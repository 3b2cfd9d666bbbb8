"""Frames -> one batch: augmented clouds, voxels, images and the pairs between them.

Shape legend: B frames, S clouds (the keyframe and the drawn sweeps of every frame, each a sample of its own for
the 3D network), N points, V voxels, I images, M pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenelift.errors import ConfigError, DataError
from scenelift.frames import Frame
from scenelift.images import decode
from scenelift.sparse import Voxels

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class VoxelConfig:
    """How a point cloud becomes voxels."""

    size: float = 0.1
    """Edge of a voxel, metres."""
    features: Literal["first", "geometry"] = "first"
    """`first`: the features of a voxel's first point, as the paper's code has it; `geometry`: their mean, and
    the mean height, the mean height above the voxel's floor, and the log of the number of points."""
    feature_scale: float = 1.0
    """The points' own features are multiplied by this (1/255 brings nuScenes intensities to 0..1)."""

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise ConfigError(f"a voxel has a positive size, not {self.size} m")

    def channels(self, point_features: int) -> int:
        """Width of a voxel's features, given that of a point's."""
        return point_features + (3 if self.features == "geometry" else 0)


@dataclass(frozen=True)
class Augmentation:
    """Changes of a training cloud, drawn for each cloud of each frame and epoch (clip2scene.md 1.4)."""

    rotate: bool = True
    """Rotate about z by an angle uniform in [0, 2 pi)."""
    flip: bool = True
    """Mirror x, and y, with probability one half each."""
    scale: float = 0.0
    """Scale by a factor uniform in [1 - scale, 1 + scale]."""
    sweeps: int = 0
    """Earlier sweeps drawn beside the keyframe, of those that the shards hold; each becomes its own cloud."""


NO_AUGMENTATION = Augmentation(rotate=False, flip=False)


@dataclass
class Batch:
    """What a method's step sees; every index is checked when it is made and valid from then on."""

    voxels: Voxels
    """[V] voxels of all S clouds; sample index = cloud index."""
    point_voxel: Tensor
    """[N] int64 the voxel of each point."""
    point_cloud: Tensor
    """[N] int64 the cloud of each point; cloud s belongs to frame s // (S / B)."""
    labels: Tensor
    """[N] int64, 0 = ignored (all 0 where the data set has no labels)."""
    images: Tensor
    """[I, 3, H, W] uint8 RGB, the images of all frames."""
    pair_points: Tensor
    """[M] int64 rows of the N points."""
    pair_pixels: Tensor
    """[M, 3] int64 (image 0..I-1, row, column)."""
    tokens: tuple[str, ...]
    """[B] which frames these are."""

    @property
    def pair_voxel(self) -> Tensor:
        """[M] int64 the voxel of each pair: indices are composed, so no feature is expanded to all points."""
        return self.point_voxel[self.pair_points]

    def to(self, device: torch.device) -> Batch:
        """The batch on another device; the voxels' neighbour tables are built anew there."""
        sites = dataclasses.replace(self.voxels.sites, coords=self.voxels.sites.coords.to(device), memo={})
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        voxels = Voxels(self.voxels.features.to(device, non_blocking=True), sites)
        return dataclasses.replace(self, voxels=voxels, **moved)


def augment(points: Floats, config: Augmentation, rng: np.random.Generator) -> Floats:
    """[N, 3] -> [N, 3]: one random rotation about z, mirroring and scaling of a whole cloud."""
    angle = rng.uniform(0, 2 * np.pi) if config.rotate else 0.0
    mirror = rng.choice([-1.0, 1.0], 2) if config.flip else np.ones(2)
    factor = rng.uniform(1 - config.scale, 1 + config.scale)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    matrix = factor * np.diag([*mirror, 1.0]) @ turn
    return points @ matrix.T.astype(np.float32)


def voxelise(
    points: Floats, features: Floats, config: VoxelConfig
) -> tuple[NDArray[np.int32], Floats, NDArray[np.int64]]:
    """Quantise a cloud: ([V, 3] cells from 0, [V, C] features, [N] the voxel of each point).

    Cells are floor(p / size), shifted so that the smallest is 0 along each axis and sorted by (x, y, z).
    """
    cells = np.floor(points / np.float32(config.size)).astype(np.int64)
    cells -= cells.min(0, initial=0) if not len(cells) else cells.min(0)
    extent = cells.max(0, initial=0) + 1
    keys = (cells[:, 0] * extent[1] + cells[:, 1]) * extent[2] + cells[:, 2]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    scaled = features * np.float32(config.feature_scale)
    if config.features == "first":
        return cells[first].astype(np.int32), scaled[first], inverse
    count = np.bincount(inverse, minlength=len(first)).astype(np.float32)[:, None]
    above = points[:, 2:] - np.floor(points[:, 2:] / np.float32(config.size)) * np.float32(config.size)
    columns = np.concatenate((scaled, points[:, 2:], above), 1)
    sums = np.stack([np.bincount(inverse, column, len(first)) for column in columns.T], 1)
    mean = (sums / np.maximum(count, 1)).astype(np.float32)
    return cells[first].astype(np.int32), np.concatenate((mean, np.log1p(count)), 1), inverse


@dataclass(frozen=True)
class Collate:
    """Makes batches; what is random follows from (seed, epoch, frame) alone, so any step can be made again."""

    voxels: VoxelConfig
    augmentation: Augmentation = NO_AUGMENTATION
    seed: int = 0
    images: bool = True
    """Decode the images (the 3D network alone needs none)."""

    def __call__(self, frames: Sequence[Frame], epoch: int = 0) -> Batch:
        """Collate B frames; DataError if a frame holds fewer sweeps than are asked for."""
        clouds = [_clouds(frame, self.augmentation, self._rng(frame, epoch)) for frame in frames]
        merged = _Merged()
        image_offset = 0
        for frame, parts in zip(frames, clouds, strict=True):
            for rows, points in parts:
                merged.add(frame, rows, points, self.voxels, image_offset)
            image_offset += len(frame.images)
        return merged.batch(frames, self.images)

    def _rng(self, frame: Frame, epoch: int) -> np.random.Generator:
        key = np.frombuffer(frame.token.encode().ljust(4, b"\0"), np.uint8)
        return np.random.default_rng([self.seed, epoch, *key.tolist()])


def _clouds(
    frame: Frame, config: Augmentation, rng: np.random.Generator
) -> list[tuple[NDArray[np.int64], Floats]]:
    """The clouds of a frame that enter the batch: (rows of the frame's points, their augmented positions)."""
    held = int(frame.sweep.max(initial=0))
    if config.sweeps > held:
        raise DataError(
            f"frame {frame.token} holds {held} sweeps, {config.sweeps} are asked for; make shards with --sweeps"
        )
    drawn = [0, *(1 + rng.choice(held, config.sweeps, replace=False) if config.sweeps else [])]
    clouds = []
    for sweep in drawn:
        rows = np.flatnonzero(frame.sweep == sweep)
        clouds.append((rows, augment(frame.points[rows], config, rng)))
    return clouds


class _Merged:
    """Clouds laid one behind the other, with every index shifted to match."""

    def __init__(self) -> None:
        self.coords: list[NDArray[np.int32]] = []
        self.features: list[Floats] = []
        self.point_voxel: list[NDArray[np.int64]] = []
        self.labels: list[NDArray[np.uint8]] = []
        self.pair_points: list[NDArray[np.int64]] = []
        self.pair_pixels: list[NDArray[np.int64]] = []
        self.points = self.voxels = 0

    def add(
        self, frame: Frame, rows: NDArray[np.int64], points: Floats, config: VoxelConfig, image_offset: int
    ) -> None:
        cells, features, point_voxel = voxelise(points, frame.features[rows], config)
        sample = np.full((len(cells), 1), len(self.coords), np.int32)
        self.coords.append(np.concatenate((sample, cells), 1))
        self.features.append(features)
        self.point_voxel.append(point_voxel + self.voxels)
        self.labels.append(np.zeros(len(rows), np.uint8) if frame.labels is None else frame.labels[rows])
        place = np.full(len(frame.points), -1, np.int64)
        place[rows] = np.arange(len(rows)) + self.points
        pair_points = place[frame.pair_points]
        kept = pair_points >= 0
        self.pair_points.append(pair_points[kept])
        shift = np.array([image_offset, 0, 0], np.int64)
        self.pair_pixels.append(frame.pair_pixels[kept].astype(np.int64) + shift)
        self.points += len(rows)
        self.voxels += len(cells)

    def batch(self, frames: Sequence[Frame], images: bool) -> Batch:
        coords = torch.from_numpy(np.concatenate(self.coords))
        shape = (coords[:, 1:].amax(0) + 1).tolist() if len(coords) else [1, 1, 1]
        features = torch.from_numpy(np.concatenate(self.features))
        counts = torch.tensor([len(part) for part in self.point_voxel])
        decoded = [decode(image) for frame in frames for image in frame.images] if images else []
        return Batch(
            voxels=Voxels.checked(features, coords, (shape[0], shape[1], shape[2]), len(self.coords)),
            point_voxel=torch.from_numpy(np.concatenate(self.point_voxel)),
            point_cloud=torch.repeat_interleave(torch.arange(len(counts)), counts),
            labels=torch.from_numpy(np.concatenate(self.labels)).long(),
            images=_stack(decoded),
            pair_points=torch.from_numpy(np.concatenate(self.pair_points)),
            pair_pixels=torch.from_numpy(np.concatenate(self.pair_pixels)),
            tokens=tuple(frame.token for frame in frames),
        )


def _stack(images: list[NDArray[np.uint8]]) -> Tensor:
    """[H, W, 3] arrays -> [I, 3, H, W] uint8."""
    if not images:
        return torch.zeros((0, 3, 1, 1), dtype=torch.uint8)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
