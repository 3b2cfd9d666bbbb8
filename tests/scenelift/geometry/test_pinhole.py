"""A camera is found again from what it sees, and a mirrored picture is told from an upright one."""

import numpy as np
import pytest

from scenelift.geometry.pinhole import fit_pinhole
from scenelift.geometry.transforms import inverse, project, rigid

INTRINSIC = np.array([[300.0, 0, 210], [0, 280, 118], [0, 0, 1]])
SIZE = (224, 416)


def seen(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=4)
    camera_from_points = rigid(turn / np.linalg.norm(turn), rng.normal(0, 2, 3))
    points = rng.uniform(-40, 40, (20000, 3))
    which, pixels = project(points, camera_from_points, INTRINSIC, SIZE)
    return camera_from_points, points[which], pixels


@pytest.mark.parametrize("seed", range(4))
def test_the_camera_is_found_from_rounded_pixels(seed: int) -> None:
    truth, points, pixels = seen(seed)
    found = fit_pinhole(points.astype(np.float32), np.rint(pixels))
    assert found is not None and not found.mirrored
    assert np.allclose(found.intrinsic, INTRINSIC, atol=2)
    assert np.allclose(found.position, inverse(truth)[:3, 3], atol=0.1)
    assert np.allclose(found.forward, truth[2, :3], atol=0.01)
    assert np.median(found.error) < 0.6 and (found.depth > 0).all()
    assert np.allclose(found.depth, points @ truth[2, :3] + truth[2, 3], atol=0.3)


@pytest.mark.parametrize("wrong", [(-1, 1), (1, -1)])
def test_a_mirror_image_is_told(wrong: tuple[int, int]) -> None:
    _, points, pixels = seen(0)
    for pixels_there in (pixels * wrong, pixels[:, ::-1]):
        found = fit_pinhole(points, pixels_there)
        assert found is not None and found.mirrored
    rotated = fit_pinhole(points, -pixels)
    assert rotated is not None and not rotated.mirrored


def test_what_does_not_decide_is_not_fitted() -> None:
    _, points, pixels = seen(0)
    assert fit_pinhole(points[:20], pixels[:20]) is None
    flat = np.random.default_rng(0).uniform((-5, -3, 10), (5, 3, 10), (500, 3))
    which, there = project(flat, np.eye(4), INTRINSIC, SIZE)
    assert len(which) > 100 and fit_pinhole(flat[which], np.rint(there)) is None


def test_pairs_that_no_camera_makes_are_far_off() -> None:
    _, points, _ = seen(0)
    found = fit_pinhole(points, np.random.default_rng(0).uniform(0, 200, (len(points), 2)))
    assert found is not None and np.median(found.error) > 10
