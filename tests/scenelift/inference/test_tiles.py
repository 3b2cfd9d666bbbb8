"""Tiles of a cloud, in memory and on disk: each point once, with all that lies within the margin."""

from __future__ import annotations

import numpy as np
import pytest

from scenelift.errors import DataError
from scenelift.inference.large import blocks
from scenelift.inference.tiles import tiles

MARGIN = 3.0


@pytest.fixture
def points() -> np.ndarray:
    """[N, 3] a dense patch, a street, and a far point, in no order."""
    rng = np.random.default_rng(0)
    street = rng.uniform([0, 0, 0], [200, 8, 3], (3000, 3))
    patch = rng.normal([20, 4, 1], 0.5, (2000, 3))
    return rng.permutation(np.concatenate([street, patch, [[900.0, -700, 0]]]))


def check(points: np.ndarray, own: np.ndarray, whole: np.ndarray) -> None:
    """The tile has every point within the margin of its own ones, by brute force for some of these."""
    for row in own[:: max(1, len(own) // 20)]:
        near = np.flatnonzero((np.abs(points[:, :2] - points[row, :2]) <= MARGIN).all(1))
        assert np.isin(near, whole).all()
    assert (np.diff(whole) > 0).all(), "in the cloud's order"


def test_tiles_in_memory(points):
    single = points.astype(np.float32)
    seen, sizes = np.zeros(len(points), int), []
    for inner, whole in tiles(single, 500, MARGIN):
        seen[whole[inner]] += 1
        sizes.append(len(inner))
        check(single, whole[inner], whole)
    assert (seen == 1).all() and max(sizes) <= 500
    assert len(list(tiles(single, len(points), MARGIN))) == 1


@pytest.mark.parametrize("chunk", [1, 700, 10_000])
def test_tiles_on_disk(points, chunk, tmp_path):
    """A cloud that comes in chunks, with holes; coordinates of a map keep their digits."""
    far = points + np.array([500_000.0, 5_400_000.0, 100])
    far[[5, 17]] = np.nan
    features = np.arange(len(far), dtype=np.float32)[:, None]

    def parts():
        for start in range(0, len(far), chunk):
            yield far[start : start + chunk], features[start : start + chunk]

    seen = np.zeros(len(far), int)
    if chunk == 1:
        far, features = far[:50], features[:50]
        seen = seen[:50]
    for position, feature, number, own in blocks(parts, 1, 500, MARGIN, tmp_path):
        assert np.array_equal(position, far[number]) and np.array_equal(feature, features[number])
        seen[number[own]] += 1
        check(far, number[own], number)
    assert np.array_equal(seen, np.isfinite(far).all(1).astype(int))
    assert not list(tmp_path.iterdir()), "the copy is gone"


def test_nothing_but_holes_has_no_tiles(tmp_path):
    empty = [(np.full((3, 3), np.nan), np.zeros((3, 0), np.float32))]
    assert not list(blocks(lambda: iter(empty), 0, 10, MARGIN, tmp_path))


def test_a_point_astray_is_named(tmp_path):
    astray = [(np.array([[0, 0, 0], [1e30, 0, 0]]), np.zeros((2, 0), np.float32))]
    with pytest.raises(DataError, match="cut off points that lie astray"):
        list(blocks(lambda: iter(astray), 0, 10, MARGIN, tmp_path))
