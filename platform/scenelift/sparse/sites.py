"""Coordinates of active voxels, their features, and the geometry of convolutions."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, int, int]


@dataclass(eq=False)
class Sites:
    """Coordinates of the active voxels, shared by several feature tensors."""

    coords: Tensor
    """[V, 4] int32 (sample, x, y, z), unique, inside `shape`."""
    shape: Shape
    """Extent of the grid along x, y, z, voxels."""
    batch_size: int
    """Number of samples; a sample may be empty."""
    finer: Sites | None = None
    """The sites that a strided convolution made these from; where an inverse convolution returns to."""
    memo: dict[Any, Any] = field(default_factory=dict)
    """Neighbour tables already built for these sites, and references to coarser sites, by layer geometry."""

    def __len__(self) -> int:
        return len(self.coords)


@dataclass(eq=False)
class Voxels:
    """Features on sites: what sparse layers take and return."""

    features: Tensor
    """[V, C]"""
    sites: Sites

    @classmethod
    def checked(cls, features: Tensor, coords: Tensor, shape: Shape, batch_size: int) -> Voxels:
        """Build from unchecked coordinates: engines give nonsense for those out of range and duplicates."""
        assert coords.dtype == torch.int32, f"coordinates must be int32, not {coords.dtype}"
        assert coords.shape == (len(coords), 4), f"coordinates must be [V, 4], not {tuple(coords.shape)}"
        assert len(features) == len(coords), f"{len(features)} features for {len(coords)} voxels"
        assert batch_size > 0 and min(shape) > 0, f"empty grid {shape} or batch of {batch_size}"
        if len(coords):
            limits = torch.tensor([batch_size, *shape], dtype=torch.int32, device=coords.device)
            inside = (coords >= 0) & (coords < limits)
            assert bool(inside.all()), f"{int((~inside.all(1)).sum())} voxels lie outside the grid {shape}"
            duplicates = len(coords) - len(torch.unique(cell_keys(coords, shape)))
            assert not duplicates, f"{duplicates} duplicate voxels"
        return cls(features, Sites(coords, shape, batch_size))

    def with_features(self, features: Tensor) -> Voxels:
        """The same sites carrying other features."""
        return Voxels(features, self.sites)


@dataclass(frozen=True)
class Geometry:
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def offsets(self) -> list[tuple[int, int, int]]:
        """Kernel cells in weight order, as input steps from the (strided, padded) output corner."""
        steps = [i * self.dilation - self.padding for i in range(self.kernel)]
        return list(product(steps, steps, steps))

    def covered(self, shape: Shape) -> Shape:
        """`shape` padded up so that the last, incomplete output cell keeps its voxels."""
        return _triple(max(self.kernel, math.ceil(n / self.stride) * self.stride) for n in shape)

    def out_shape(self, shape: Shape) -> Shape:
        reach = self.dilation * (self.kernel - 1) + 1
        return _triple((n + 2 * self.padding - reach) // self.stride + 1 for n in self.covered(shape))


def coarser(sites: Sites, geometry: Geometry) -> Sites:
    """The sites a strided convolution of this geometry writes to, sorted by coordinate: the same ones as long as
    somebody has them. They hold `sites`, which so hold them weakly: else the tables of a batch that is gone would
    wait for the garbage collector."""
    result = known_coarser(sites, geometry)
    if result is None:
        shape = geometry.out_shape(sites.shape)
        keys = torch.unique(cell_keys(_cells(sites, geometry, shape), shape))
        coords = torch.stack(torch.unravel_index(keys, (sites.batch_size, *shape)), 1).int()
        result = Sites(coords, shape, sites.batch_size, finer=sites)
        sites.memo[geometry] = weakref.ref(result)
    return result


def known_coarser(sites: Sites, geometry: Geometry) -> Sites | None:
    """What `coarser` built, if somebody still has it."""
    known: weakref.ref[Sites] | None = sites.memo.get(geometry)
    return None if known is None else known()


def _cells(sites: Sites, geometry: Geometry, shape: Shape) -> Tensor:
    """[*, 4] every output cell that some voxel falls into, with repeats."""
    coords, stride = sites.coords, geometry.stride
    if geometry.kernel == stride and geometry.padding == 0:
        return torch.cat((coords[:, :1], coords[:, 1:] // stride), 1)
    cells = []
    for offset in geometry.offsets():
        position = coords[:, 1:] - coords.new_tensor(offset)
        cell = torch.div(position, stride, rounding_mode="floor")
        kept = (cell * stride == position) & (cell >= 0) & (cell < cell.new_tensor(shape))
        cells.append(torch.cat((coords[:, :1], cell), 1)[kept.all(1)])
    return torch.cat(cells)


def cell_keys(coords: Tensor, shape: Shape) -> Tensor:
    """[*] int64, one number per cell [*, 4], in the order of (sample, x, y, z)."""
    sample, x, y, z = coords.long().unbind(-1)
    return ((sample * shape[0] + x) * shape[1] + y) * shape[2] + z


def _triple(values: Any) -> Shape:
    x, y, z = values
    return int(x), int(y), int(z)
