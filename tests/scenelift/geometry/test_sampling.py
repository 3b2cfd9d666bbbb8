"""Sampling a grid of patches at pixels: the same numbers as upsampling and indexing, and the same gradients."""

import pytest
import torch
import torch.nn.functional as F

from scenelift.geometry.segments import sample


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("grid", "size"), [((14, 26), (224, 416)), ((14, 24), (112, 192)), ((5, 1), (7, 9))])
def test_sampling_equals_upsampling_and_indexing(
    align_corners: bool, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    scores = torch.randn(3, 5, *grid, generator=torch.Generator().manual_seed(0))
    height, width = size
    rows, cols = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, cols = rows.flatten(), cols.flatten()
    upsampled = F.interpolate(scores, size, mode="bilinear", align_corners=align_corners)
    for image in range(3):
        index = torch.full_like(rows, image)
        got = sample(scores, index.int(), rows.short(), cols.short(), size, align_corners)
        torch.testing.assert_close(got, upsampled[image, :, rows, cols].T, atol=1e-5, rtol=0)


def test_gradients_equal_those_of_upsampling() -> None:
    grid = torch.randn(2, 3, 4, 6, dtype=torch.float64, requires_grad=True)
    index, rows, cols = torch.tensor([0, 1, 1]), torch.tensor([0, 9, 30]), torch.tensor([47, 2, 20])
    upsampled = F.interpolate(grid, (32, 48), mode="bilinear", align_corners=True)
    (expected,) = torch.autograd.grad(upsampled[index, :, rows, cols].square().sum(), grid)
    got = sample(grid, index, rows, cols, (32, 48), align_corners=True)
    (gradient,) = torch.autograd.grad(got.square().sum(), grid)
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=0)


def test_no_pixels_give_no_rows() -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert sample(torch.zeros(1, 5, 2, 2), none, none, none, (8, 8)).shape == (0, 5)
