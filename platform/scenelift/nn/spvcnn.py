"""SPVCNN: a sparse U-Net with a parallel branch of features for every input voxel. "Points" are the input
voxels of the network; "cells" are those of a coarser level, with an edge of `stride` voxels."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scenelift.geometry.segments import segment_mean
from scenelift.nn.config import NetworkConfig
from scenelift.nn.minkunet import MinkUNet
from scenelift.sparse.layers import BatchNorm
from scenelift.sparse.sites import Sites, Voxels, cell_keys


class SPVCNN(MinkUNet):
    """U-Net with a point branch (Tang et al. 2020), as CLIP2Scene uses it for nuScenes and SemanticKITTI. The
    branch receives the voxel features at the bottom, half-way up and at the end, and returns its features to
    the voxels at the first two. The output is its features at all three, [V, 480] for the paper's widths.
    Source: clip2scene.md 3.1."""

    def __init__(self, in_channels: int, config: NetworkConfig) -> None:
        super().__init__(in_channels, config)
        self.middle = len(config.decoder) // 2
        widths = (config.stem, config.encoder[-1], config.decoder[self.middle - 1], config.decoder[-1])
        self.points = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), BatchNorm(b, momentum=config.momentum), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        )
        self.out_channels = sum(widths[1:])

    def forward(self, voxels: Voxels) -> Tensor:
        *skips, voxels = self.encode(voxels)
        points, outputs = skips[0], []
        features = points.features
        stops = (0, self.middle, len(skips))
        for transform, (start, stop) in zip(self.points, itertools.pairwise((0, *stops)), strict=True):
            voxels = self.decode(voxels, skips, range(start, stop))
            features = to_points(voxels, points.sites) + transform(features)
            outputs.append(features)
            voxels = to_cells(features, points.sites, voxels.sites)
        return torch.cat(outputs, 1)


def build_network(in_channels: int, config: NetworkConfig) -> MinkUNet:
    """The network of a config: a U-Net, or an SPVCNN if it has a point branch."""
    return (SPVCNN if config.point_branch else MinkUNet)(in_channels, config)


def to_points(cells: Voxels, points: Sites) -> Tensor:
    """[N, C] features of cells, interpolated at the points: trilinear between the cells' corners. A point at q
    is between the 8 cells floor(q / stride) + {0, 1}^3; the weight of each is the product over the axes of 1 -
    |q - stride * cell| / stride. Absent cells have weight 0 and the others are normalized to a sum of 1:
    nothing leaks between samples, and a point's own cell is always among them."""
    if cells.sites is points:
        return cells.features
    rows, weights = _corners(points, cells.sites)
    features = _full(cells.features)
    if not len(rows):
        return features  # [0, C], like the cells
    with torch.autocast(features.device.type, enabled=False):
        return F.embedding_bag(rows, features, mode="sum", per_sample_weights=weights.to(features.dtype))


def to_cells(features: Tensor, points: Sites, cells: Sites) -> Voxels:
    """The mean of the points' features [N, C] in each cell."""
    if cells is points:
        return Voxels(features, cells)
    own = _corners(points, cells)[0][:, 0]
    return Voxels(segment_mean(_full(features), own, len(cells)), cells)


def _full(features: Tensor) -> Tensor:
    """At least float32: half precision cannot sum over many points."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _corners(points: Sites, cells: Sites) -> tuple[Tensor, Tensor]:
    """For each point its 8 cells ([N, 8] rows, the point's own cell first) and their weights [N, 8] float32.
    Computed once per batch and cached in the points. An absent cell has weight 0 and the row of the own cell."""
    stride = _stride(points, cells)
    corners = points.memo.get(("corners", stride))
    if corners is None:
        corners = points.memo["corners", stride] = _look_up(points, cells, stride)
    return corners


def _look_up(points: Sites, cells: Sites, stride: int) -> tuple[Tensor, Tensor]:
    sample, position = points.coords[:, :1].long(), points.coords[:, 1:].long()
    steps = torch.cartesian_prod(*[torch.arange(2, device=position.device)] * 3)
    own = position // stride
    fraction = ((position - own * stride) / stride)[:, None]
    weights = torch.where(steps == 1, fraction, 1 - fraction).prod(2)
    wanted = torch.cat((sample[:, None].expand(-1, 8, -1), own[:, None] + steps), 2)
    x, y, z = cells.shape  # keys are valid up to one step beyond the grid
    known, keys = (cell_keys(coords, (x + 1, y + 1, z + 1)) for coords in (cells.coords, wanted))
    rows = torch.searchsorted(known, keys).clamp(max=len(known) - 1)  # sorted by strided convolutions
    present = known[rows] == keys
    weights = weights * present
    return torch.where(present, rows, rows[:, :1]), weights / weights.sum(1, keepdim=True)


def _stride(points: Sites, cells: Sites) -> int:
    """Edge of a cell in voxels: each level between the two halves the resolution."""
    stride, sites = 1, cells
    while sites is not points:
        assert sites.finer is not None, "the cells were not made from these points"
        stride, sites = 2 * stride, sites.finer
    return stride
