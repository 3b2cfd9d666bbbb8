"""Sparse convolution in plain torch: on any device, in any float type; the oracle of the other engine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scenelift.sparse.sites import Geometry, Sites, cell_keys


class TorchConv(nn.Module):
    """Gather, multiply, scatter; one matrix product per kernel cell. Any device, any float type."""

    def __init__(self, kind: str, channels: tuple[int, int], geometry: Geometry) -> None:
        super().__init__()
        self.kind, self.geometry = kind, geometry
        k = geometry.kernel
        self.weight = nn.Parameter(torch.empty(channels[1], k, k, k, channels[0]))

    def forward(self, features: Tensor, source: Sites, target: Sites) -> Tensor:
        inverse = self.kind == "inverse"
        fine, coarse = (target, source) if inverse else (source, target)
        weight = self.weight.to(features.dtype).flatten(1, 3)
        out = features.new_zeros(len(target), weight.shape[0])
        for cell, (fine_rows, coarse_rows) in enumerate(_neighbours(fine, coarse, self.geometry)):
            read, write = (coarse_rows, fine_rows) if inverse else (fine_rows, coarse_rows)
            if len(read):
                out = out.index_add(0, write, features[read] @ weight[:, cell].T)
        return out


def _neighbours(fine: Sites, coarse: Sites, geometry: Geometry) -> list[tuple[Tensor, Tensor]]:
    """For each kernel cell, the rows (fine, coarse) it connects: built once, kept with the coarse sites."""
    memo = coarse.memo.setdefault("neighbours", {})
    if geometry not in memo:
        keys, order = torch.sort(cell_keys(fine.coords, fine.shape))
        corner = coarse.coords.long()
        corner[:, 1:] *= geometry.stride
        limit = corner.new_tensor(fine.shape)
        table = []
        for offset in geometry.offsets():
            wanted = corner + corner.new_tensor([0, *offset])
            inside = ((wanted[:, 1:] >= 0) & (wanted[:, 1:] < limit)).all(1)
            rows = torch.nonzero(inside).squeeze(1)
            key = cell_keys(wanted[rows], fine.shape)
            at = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            hit = keys[at] == key
            table.append((order[at[hit]], rows[hit]))
        memo[geometry] = table
    return memo[geometry]
