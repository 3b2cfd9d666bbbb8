"""Segment operations against loops over the segments, with empty segments and any order."""

import pytest
import torch
import torch.nn.functional as F

from scenelift.geometry import segments
from scenelift.geometry.segments import sample


@pytest.fixture(params=[0, 1, 57])
def rows(request):
    torch.manual_seed(request.param)
    return torch.randn(request.param, 3), torch.randint(0, 9, (request.param,))


def test_sum_mean_and_size(rows):
    values, segment = rows
    for number in range(10):
        mine = values[segment == number]
        assert torch.allclose(segments.segment_sum(values, segment, 10)[number], mine.sum(0), atol=1e-6)
        mean = mine.mean(0) if len(mine) else torch.zeros(3)
        assert torch.allclose(segments.segment_mean(values, segment, 10)[number], mean, atol=1e-6)
        assert segments.segment_size(segment, 10)[number] == len(mine)


def test_first_and_rank(rows):
    _, segment = rows
    seen: dict[int, int] = {}
    first = segments.segment_first(segment, 10).tolist()
    for row, number in enumerate(segment.tolist()):
        if number not in seen:
            assert first[number] == row
        assert segments.segment_rank(segment)[row] == seen.get(number, 0)
        seen[number] = seen.get(number, 0) + 1
    assert all(first[number] == len(segment) for number in range(10) if number not in seen)


def test_softmax_is_that_of_each_segment_and_survives_large_scores(rows):
    values, segment = rows
    scores = values[:, 0] * 200
    got = segments.segment_softmax(scores, segment, 10)
    for number in range(10):
        mine = segment == number
        assert torch.allclose(got[mine], scores[mine].softmax(0), atol=1e-6)


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
