"""Rigid transforms and the pinhole projection that pairs points with pixels. A transform `b_from_a` is a 4x4
matrix for column vectors: it maps coordinates in frame a to frame b, so a chain reads from right to left,
`camera_from_ego @ ego_from_lidar`. All functions take stacks of transforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]

_TOLERANCE = 1e-2
"""Largest deviation of a quaternion's length from 1, and of R R^T from the identity."""
_FARTHEST = 1e4
"""Largest translation between two sensors, or a sensor and its room, metres."""


def rotation(quaternion: ArrayLike) -> Matrix:
    """[..., 4] quaternions (w, x, y, z) -> [..., 3, 3] rotation matrices. Small errors of length are normalized
    away; others become NaN, so that a bad record is reported only where it is used (`require_rigid`)."""
    q = np.asarray(quaternion, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(q, axis=-1, keepdims=True)
        unit = np.abs(length - 1) < _TOLERANCE
    w, x, y, z = np.moveaxis(np.divide(q, length, out=np.full(q.shape, np.nan), where=unit), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def rigid(quaternion: ArrayLike, translation: ArrayLike) -> Matrix:
    """[..., 4] quaternions and [..., 3] translations (metres) -> [..., 4, 4] transforms; NaN as in `rotation`."""
    shift = np.asarray(translation, np.float64)
    return compose(rotation(quaternion), np.where(np.isfinite(shift), shift, np.nan))


def compose(rotation: Matrix, translation: Matrix) -> Matrix:
    """[..., 3, 3] and [..., 3] -> the [..., 4, 4] transform p -> rotation @ p + translation."""
    transform = np.zeros((*rotation.shape[:-2], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1
    return transform


def inverse(transform: Matrix) -> Matrix:
    """Inverse of rigid [..., 4, 4] transforms, by transposing the rotation."""
    back = np.swapaxes(transform[..., :3, :3], -1, -2)
    return compose(back, -(back @ transform[..., :3, 3:])[..., 0])


def require_rigid(transform: Matrix) -> None:
    """ValueError unless the 4x4 matrix is finite and a rotation with a translation."""
    if transform.shape != (4, 4):
        raise ValueError(f"the transform is {transform.shape}, not 4x4")
    if not np.isfinite(transform).all():
        raise ValueError("the transform is not finite, or its quaternion does not have length 1")
    turn = transform[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > _TOLERANCE or np.linalg.det(turn) < 0:
        raise ValueError("the transform's 3x3 part is singular or not a rotation")
    if not np.array_equal(transform[3], (0, 0, 0, 1)):
        raise ValueError("the transform's last row is not (0, 0, 0, 1)")
    if (shift := np.abs(transform[:3, 3]).max()) > _FARTHEST:
        raise ValueError(f"the transform moves by {shift:.3g} m; translations are in metres")


def require_pinhole(intrinsic: Matrix) -> None:
    """ValueError unless the 3x3 matrix is finite and invertible with last row (0, 0, 1)."""
    if intrinsic.shape != (3, 3):
        raise ValueError(f"the intrinsic matrix is {intrinsic.shape}, not 3x3")
    if not np.isfinite(intrinsic).all():
        raise ValueError("the intrinsic matrix is not finite")
    if not np.array_equal(intrinsic[2], (0, 0, 1)) or abs(np.linalg.det(intrinsic)) < 1e-9:
        raise ValueError("the intrinsic matrix is singular, or its last row is not (0, 0, 1)")
    if intrinsic[0, 0] <= 0 or intrinsic[1, 1] <= 0:
        raise ValueError("the intrinsic matrix has a focal length that is not positive")


def transform_points(transform: Matrix, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, 3] points moved by a 4x4 transform, computed in float64."""
    moved = _affine(transform[:3], points.T.astype(np.float64, order="C"))
    return np.ascontiguousarray(moved.T, np.float32)


def _affine(matrix: Matrix, columns: Matrix) -> Matrix:
    """[R, 4] applied to homogeneous [3, N] columns -> [R, N]; BLAS would start threads in each reader process."""
    x, y, z = columns
    return matrix[:, 0:1] * x + matrix[:, 1:2] * y + matrix[:, 2:3] * z + matrix[:, 3:4]


def project(
    points: NDArray[np.floating],
    to_camera: Matrix,
    intrinsic: Matrix,
    size: tuple[int, int],
    min_depth: float = 1.0,
) -> tuple[NDArray[np.intp], Matrix]:
    """Which points a pinhole camera sees, and where; no occlusion test (CLIP2Scene, section 3.1).

    Takes [N, 3] points (metres), the 4x4 transform into the camera's frame (x right, y down, z forward), the 3x3
    intrinsic matrix and the image's (height, width). Returns the indices [M], in order, of the points deeper than
    `min_depth` metres and strictly inside a one-pixel border, as in the nuScenes devkit (CLIP2Scene's code
    includes the first row and column), and their [M, 2] float64 coordinates (u, v), pixels. Raises ValueError for
    invalid matrices.
    """
    require_rigid(to_camera)
    require_pinhole(intrinsic)
    height, width = size
    columns = points.T.astype(np.float64, order="C")
    depth = _affine(to_camera[2:3], columns)[0]
    ahead = np.flatnonzero(depth > min_depth)
    u, v = _affine((intrinsic @ to_camera[:3])[:2], columns[:, ahead]) / depth[ahead]
    inside = (u > 1) & (u < width - 1) & (v > 1) & (v < height - 1)
    return ahead[inside], np.stack([u[inside], v[inside]], 1)
