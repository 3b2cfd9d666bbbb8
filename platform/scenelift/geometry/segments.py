"""Operations on segments, rows of a tensor with the same index such as the pairs of one grid cell, and on grids.

Cost and memory grow with the number of rows. `segment` is int64 [M] with values 0..count-1 in any order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def segment_sum(values: Tensor, segment: Tensor, count: int) -> Tensor:
    """[M, ...] -> [count, ...] sums; 0 for an empty segment."""
    return values.new_zeros((count, *values.shape[1:])).index_add(0, segment, values)


def segment_mean(values: Tensor, segment: Tensor, count: int) -> Tensor:
    """[M, ...] -> [count, ...] means; 0 for an empty segment."""
    size = segment_size(segment, count).clamp(min=1).to(values.dtype)
    return segment_sum(values, segment, count) / size.view(-1, *[1] * (values.ndim - 1))


def segment_size(segment: Tensor, count: int) -> Tensor:
    """[count] int64 number of rows in each segment."""
    return torch.bincount(segment, minlength=count)


def segment_first(segment: Tensor, count: int) -> Tensor:
    """[count] int64 index of the first row of each segment; M for an empty one."""
    rows = torch.arange(len(segment), device=segment.device)
    return torch.full((count,), len(segment), device=segment.device).scatter_reduce(0, segment, rows, "amin")


def segment_rank(segment: Tensor) -> Tensor:
    """[M] int64 number of earlier rows in the same segment."""
    order = torch.argsort(segment, stable=True)
    ordered = segment[order]
    rows = torch.arange(len(segment), device=segment.device)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    rank = torch.empty_like(rows)
    rank[order] = rows - torch.cummax(torch.where(starts, rows, 0), 0).values if len(rows) else rows
    return rank


def segment_softmax(scores: Tensor, segment: Tensor, count: int) -> Tensor:
    """[M] softmax of the scores among the rows of each segment."""
    highest = scores.new_full((count,), -torch.inf).scatter_reduce(0, segment, scores.detach(), "amax")
    exponent = (scores - highest[segment]).exp()
    return exponent / segment_sum(exponent, segment, count)[segment]


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
