"""Segment operations against loops over the segments, with empty segments and any order."""

import pytest
import torch

from scenelift.geometry import segments


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
