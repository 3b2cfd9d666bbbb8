"""The pinhole camera that explains pairs of points and pixels: what a calibration amounts to, found without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import rq

from scenelift.geometry.transforms import Matrix, compose

FEWEST = 30
"""Pairs from which a camera is fitted."""
_FLAT = 1e-6
"""Smallest share of the design matrix's second smallest singular value: of points in a plane it is less."""


@dataclass(frozen=True)
class Pinhole:
    """A camera, and how well it explains the pairs that it was fitted to."""

    intrinsic: Matrix
    """[3, 3] with positive focal lengths, pixels."""
    camera_from_points: Matrix
    """[4, 4] rigid; x right, y down, z forward."""
    mirrored: bool
    """Whether only a mirror image explains the pairs: then pixels are counted from the wrong side, or rows and
    columns are exchanged."""
    depth: NDArray[np.float64]
    """[M] of each pair along the optical axis, metres; negative behind the camera."""
    error: NDArray[np.float64]
    """[M] distance of each pixel from where the camera sees its point, pixels."""

    @property
    def position(self) -> Matrix:
        """[3] of the camera, in the frame of the points, metres."""
        return -self.camera_from_points[:3, :3].T @ self.camera_from_points[:3, 3]

    @property
    def forward(self) -> Matrix:
        """[3] unit vector of the optical axis, in the frame of the points."""
        return self.camera_from_points[2, :3]


def fit_pinhole(points: NDArray[np.floating], pixels: NDArray[np.floating]) -> Pinhole | None:
    """The camera that sees [M, 3] points (metres) at [M, 2] (u, v), by the direct linear transform with normalized
    coordinates (Hartley and Zisserman, Multiple View Geometry, 7.1); None for fewer than `FEWEST` pairs, or for
    points that lie in a plane or elsewhere where many cameras explain them."""
    if len(points) < FEWEST:
        return None
    (world, to_world), (image, to_image) = _normalized(points), _normalized(pixels)
    zero = np.zeros_like(world)
    rows = [
        np.hstack([world, zero, -image[:, :1] * world]),
        np.hstack([zero, world, -image[:, 1:2] * world]),
    ]
    _, values, basis = np.linalg.svd(np.linalg.qr(np.vstack(rows), mode="r"))
    if values[-2] < _FLAT * values[0]:
        return None
    projection = np.linalg.inv(to_image) @ basis[-1].reshape(3, 4) @ to_world
    return _decomposed(projection, points, pixels)


def _normalized(values: NDArray[np.floating]) -> tuple[Matrix, Matrix]:
    """Homogeneous values about 0 at a distance of about 1, and the matrix that makes them so."""
    values = np.asarray(values, np.float64)
    mean = values.mean(0)
    scale = 1 / max(float(np.abs(values - mean).mean()), 1e-9)
    width = values.shape[1]
    matrix = np.diag([scale] * width + [1.0])
    matrix[:width, width] = -scale * mean
    return np.column_stack([(values - mean) * scale, np.ones(len(values))]), matrix


def _decomposed(projection: Matrix, points: NDArray[np.floating], pixels: NDArray[np.floating]) -> Pinhole:
    homogeneous = np.column_stack([np.asarray(points, np.float64), np.ones(len(points))])
    seen = homogeneous @ projection.T
    if np.median(seen[:, 2]) < 0:  # the sign of a projection is free: most of what is seen lies ahead
        projection, seen = -projection, -seen
    left = projection[:, :3]
    mirrored = bool(np.linalg.det(left) < 0)
    triangle, turn = rq(left)
    signs = np.sign(np.diag(triangle))
    triangle, turn = triangle * signs, signs[:, None] * turn
    scale = triangle[2, 2]
    shift = np.linalg.solve(triangle, projection[:, 3])
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.linalg.norm(seen[:, :2] / seen[:, 2:] - pixels, axis=1)
    return Pinhole(triangle / scale, compose(turn, shift), mirrored, seen[:, 2] / scale, error)
