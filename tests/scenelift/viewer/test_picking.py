"""A click means the nearest of the points under the cursor."""

from __future__ import annotations

import numpy as np
import pytest

from scenelift.viewer.picking import pick

EYE = np.array([0.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([[10, 0, 0], [5, 0, 0], [-3, 0, 0]], 1),  # the nearer of two on the ray, and none behind the eye
        ([[10, 0.04, 0], [5, 1, 0]], 0),  # under the cursor, if not exactly
        ([[10, 0.2, 0], [10, 0.25, 0]], 0),  # beside it, but nothing is nearer
        ([[10, 5, 0]], None),  # far from it
        ([[-10, 0, 0]], None),
        ([], None),
    ],
)
def test_a_ray_means_a_point(points: list[list[float]], found: int | None) -> None:
    assert pick(np.array(points, np.float32).reshape(-1, 3), EYE, np.array([2.0, 0, 0])) == found
