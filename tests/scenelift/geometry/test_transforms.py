"""Protects the geometry that pairs stand on: quaternion order, inverses, the projection's strict borders."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scenelift.geometry.transforms import (
    compose,
    inverse,
    project,
    require_pinhole,
    require_rigid,
    rigid,
    rotation,
    transform_points,
)

PINHOLE = np.array([[64.0, 0, 32], [0, 32.0, 20], [0, 0, 1]])
SIZE = (41, 65)


def _random_rigid(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    quaternions = rng.normal(size=(count, 4))
    return quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True), rng.normal(size=(count, 3)) * 100


def test_rotation_takes_the_scalar_first():
    quaternions, _ = _random_rigid(0, 100)
    expected = Rotation.from_quat(np.roll(quaternions, -1, axis=1)).as_matrix()  # scipy: scalar last
    np.testing.assert_allclose(rotation(quaternions), expected, atol=1e-12)
    np.testing.assert_allclose(
        rotation([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]) @ [1, 0, 0], [0, 1, 0], atol=1e-12
    )


def test_rotation_divides_out_small_errors_of_length():
    turned = rotation(np.array([0.6, 0, 0.8, 0]) * 1.004)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [2, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 0]])
def test_what_is_no_unit_quaternion_is_refused_where_it_is_used(bad):
    transforms = rigid([[1, 0, 0, 0], bad], np.zeros((2, 3)))
    require_rigid(transforms[0])
    with pytest.raises(ValueError, match="not finite"):
        require_rigid(transforms[1])


def test_inverse_undoes_a_stack_of_transforms():
    transforms = rigid(*_random_rigid(1, 20)).reshape(4, 5, 4, 4)
    np.testing.assert_allclose(
        inverse(transforms) @ transforms, np.broadcast_to(np.eye(4), (4, 5, 4, 4)), atol=1e-9
    )


def test_transform_points_keeps_precision_far_from_the_origin():
    transform = rigid([0.6, 0, 0, 0.8], [1000.0, 2000.0, 3.0])
    points = np.random.default_rng(2).normal(size=(100, 3)).astype(np.float32)
    back = transform_points(inverse(transform) @ transform, points)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_project_gives_the_expected_pixels():
    points = np.array([[0, 0, 2], [0.5, 0, 2], [0, 0.5, 4], [0, 0, -2]], np.float32)
    index, pixels = project(points, np.eye(4), PINHOLE, SIZE)
    assert index.tolist() == [0, 1, 2]
    np.testing.assert_allclose(pixels, [[32, 20], [48, 20], [32, 24]])


def test_project_is_strict_at_every_border_and_at_the_depth():
    inside = np.array([[1.5, 1.5], [63.5, 39.5]])
    border = np.array([[1, 20], [64, 20], [32, 1], [32, 40.0]])
    pixels = np.concatenate([inside, border])
    points = np.concatenate([(pixels - PINHOLE[:2, 2]) / [64, 32], np.ones((6, 1))], 1) * 2
    assert project(points.astype(np.float32), np.eye(4), PINHOLE, SIZE)[0].tolist() == [0, 1]
    depths = np.array([[0, 0, 1.0], [0, 0, np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    assert project(depths, np.eye(4), PINHOLE, SIZE)[0].tolist() == [1]
    assert project(depths, np.eye(4), PINHOLE, SIZE, min_depth=0.5)[0].tolist() == [0, 1]


def test_project_agrees_with_a_loop_over_points():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(500, 3)).astype(np.float32) * 5
    quaternion, translation = _random_rigid(4, 1)
    turn = Rotation.from_quat(np.roll(quaternion[0], -1)).as_matrix()
    expected = []
    for number, point in enumerate(points.astype(np.float64)):
        x, y, z = turn @ point + translation[0] / 100
        if z <= 1:
            continue
        u, v = 64 * x / z + 32, 32 * y / z + 20
        if 1 < u < 64 and 1 < v < 40:
            expected.append((number, u, v))
    index, pixels = project(points, rigid(quaternion[0], translation[0] / 100), PINHOLE, SIZE)
    assert len(expected) > 20
    assert index.tolist() == [number for number, _, _ in expected]
    np.testing.assert_allclose(pixels, [(u, v) for _, u, v in expected], atol=1e-9)


def test_project_takes_no_points_and_leaves_out_what_is_not_finite():
    index, pixels = project(np.empty((0, 3), np.float32), np.eye(4), PINHOLE, SIZE)
    assert index.shape == (0,) and pixels.shape == (0, 2)
    points = np.array([[np.nan, 0, 2], [0, 0, 2]], np.float32)
    assert project(points, np.eye(4), PINHOLE, SIZE)[0].tolist() == [1]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (np.zeros((4, 4)), "singular"),
        (np.diag([1.0, 1, 0, 1]), "singular"),
        (np.diag([1.0, 1, -1, 1]), "not a rotation"),
        (np.diag([2.0, 2, 2, 1]), "not a rotation"),
        (compose(np.eye(3), np.array([np.nan, 0, 0])), "not finite"),
        (np.diag([1.0, 1, 1, 2]), "last row"),
        (np.eye(3), "not 4x4"),
    ],
)
def test_a_transform_that_is_not_rigid_is_refused(broken, reason):
    with pytest.raises(ValueError, match=reason):
        project(np.ones((1, 3), np.float32), broken, PINHOLE, SIZE)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (np.diag([0.0, 40, 1]), "singular"),
        (np.diag([50.0, 40, 2]), "last row"),
        (PINHOLE * np.nan, "not finite"),
        (np.eye(4), "not 3x3"),
    ],
)
def test_an_intrinsic_matrix_without_an_image_is_refused(broken, reason):
    with pytest.raises(ValueError, match=reason):
        require_pinhole(broken)
