"""Operations on segments: rows of a tensor with the same index, such as the pairs of one grid cell. Cost and
memory grow with the number of rows. `segment` is int64 [M] with values 0..count-1 in any order."""

from __future__ import annotations

import torch
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
