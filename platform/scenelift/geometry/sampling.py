"""Sampling a coarse feature grid at image pixels without upsampling it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sample(
    grid: Tensor,
    image_index: Tensor,
    rows: Tensor,
    cols: Tensor,
    size: tuple[int, int],
    align_corners: bool = False,
) -> Tensor:
    """The values of the grid [B, C, h, w], upsampled to `size` bilinearly and clamped at the border, at pixels:
    [M, C] in the grid's dtype, differentiable. image_index, rows, cols: [M] integer pixels of images of size
    (H, W)."""
    _, channels, h, w = grid.shape
    row0, row1, row_part = _corners(rows, h, size[0], align_corners)
    col0, col1, col_part = _corners(cols, w, size[1], align_corners)
    start = image_index.long() * h
    index = torch.stack([(start + row) * w + col for row in (row0, row1) for col in (col0, col1)], dim=1)
    row_weights, col_weights = (1 - row_part, row_part), (1 - col_part, col_part)
    weight = torch.stack([row * col for row in row_weights for col in col_weights], dim=1)
    table = grid.permute(0, 2, 3, 1).reshape(-1, channels)
    return F.embedding_bag(index, table, mode="sum", per_sample_weights=weight.to(table.dtype))


def _corners(pixel: Tensor, cells: int, pixels: int, align_corners: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The two cells around each pixel, and the weight of the second."""
    position = pixel.double()
    if align_corners:
        position = position * ((cells - 1) / max(pixels - 1, 1))
    else:
        position = ((position + 0.5) * (cells / pixels) - 0.5).clamp(0, cells - 1)
    first = position.floor().long().clamp(max=cells - 1)
    return first, (first + 1).clamp(max=cells - 1), (position - first).float()
