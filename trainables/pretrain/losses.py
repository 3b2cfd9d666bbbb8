"""The losses of PPKT and SLidR: points against their pixels, superpoints against their superpixels.

Shapes: M pairs of a point and a pixel, D channels of both, I images of H x W pixels with features on a grid of h
x w cells. Features are the heads' raw outputs and are normalized here. Source: clip2scene.md 4.5.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.geometry.segments import segment_mean, segment_size


def info_nce(points: Tensor, pixels: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of each row of `points` against all rows of `pixels`; the positive has the same index.

    points, pixels: [K, D] float32. Without rows the loss is 0.
    """
    if not len(points):
        return (points.sum() + pixels.sum()) * 0  # not a constant: DDP needs a gradient for every parameter
    own = torch.arange(len(points), device=points.device)
    return F.cross_entropy(points @ pixels.T / temperature, own)


def ppkt(points: Tensor, pixels: Tensor, temperature: float) -> Tensor:
    """Each point against the pixels of all pairs; points, pixels: [K, D] of the same pairs."""
    return info_nce(F.normalize(points, dim=1), F.normalize(pixels, dim=1), temperature)


def slidr(
    points: Tensor, pixels: Tensor, grid: Tensor, superpixels: Tensor, temperature: float, align: bool = False
) -> Tensor:
    """The mean of a superpixel's points against the mean pixels of all superpixels that have points.

    points: [M, D]; pixels: [M, 3] (image, row, column) of the pairs; grid: [I, D, h, w] float32; superpixels:
    [I, H, W]; align: corners are aligned. Means are of unit features and are not normalized again.
    """
    count = int(superpixels.max()) + 1
    image, row, column = pixels.unbind(1)
    number = image * count + superpixels[image, row, column]
    used, segment = torch.unique(number, return_inverse=True)
    superpoints = segment_mean(F.normalize(points, dim=1), segment, len(used))
    means = mean_pixels(grid, superpixels, count, align).flatten(0, 1)[used]
    return info_nce(superpoints, means, temperature)


def mean_pixels(grid: Tensor, superpixels: Tensor, count: int, align_corners: bool = False) -> Tensor:
    """[I, count, D] mean over each superpixel of the unit features of its pixels; 0 for one without pixels.

    The same as upsampling the grid bilinearly to [I, D, H, W], normalizing and averaging. Given the length of a
    pixel's feature, its unit feature is a weighted sum of four cells: the weights of a superpixel's pixels are
    summed by cell, and the D channels are never upsampled.
    """
    images, _, h, w = grid.shape
    rows = _corners(superpixels.shape[1], h, align_corners, grid)
    columns = _corners(superpixels.shape[2], w, align_corners, grid)
    weight = 1 / _lengths(grid, rows, columns)
    first = torch.arange(images, device=grid.device)[:, None, None] * count
    segment = first + superpixels
    index, shares = [], []
    for row, row_share in rows:
        for column, column_share in columns:
            index.append(segment * (h * w) + (row * w)[:, None] + column)
            shares.append(weight * row_share[:, None] * column_share)
    pooling = grid.new_zeros(images * count * h * w)
    pooling = pooling.index_add(0, torch.stack(index).flatten(), torch.stack(shares).flatten())
    sums = pooling.view(images, count, h * w) @ grid.flatten(2).transpose(1, 2)
    size = segment_size(segment.flatten(), images * count).clamp(min=1)
    return sums / size.view(images, count, 1)


Corners = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Along one axis: ([pixels] the cell before each pixel, its weight), and the same for the cell after it."""


def _corners(pixels: int, cells: int, align_corners: bool, like: Tensor) -> Corners:
    # Upsampling the cell indices gives the fractional position of each pixel, by torch's own conventions.
    numbers = torch.arange(cells, dtype=torch.float32, device=like.device)
    position = F.interpolate(numbers[None, None], pixels, mode="linear", align_corners=align_corners)[0, 0]
    before = position.floor().long().clamp(0, cells - 1)
    share = position - before
    return (before, 1 - share), ((before + 1).clamp(max=cells - 1), share)


def _lengths(grid: Tensor, rows: Corners, columns: Corners) -> Tensor:
    """[I, H, W] length of each pixel's interpolated feature, from sums over channels of [I, D, H, w] alone."""
    (above, above_share), (below, below_share) = rows
    (left, left_share), (right, right_share) = columns
    lines = grid[:, :, above] * above_share[:, None] + grid[:, :, below] * below_share[:, None]
    own = lines.square().sum(1)
    across = (lines * lines.roll(-1, 3)).sum(1)
    squared = left_share**2 * own[..., left] + right_share**2 * own[..., right]
    squared = squared + 2 * left_share * right_share * across[..., left]
    return squared.clamp(min=1e-12).sqrt()
