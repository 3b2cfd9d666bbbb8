"""The photos of a scene, and the points that each of them shows, tested against the photo's depth image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import Size, image_size, not_hidden, read_bytes, read_matrix, require_centred
from scenelift.errors import FrameError
from scenelift.geometry.transforms import Matrix, inverse, require_pinhole, require_rigid
from scenelift.samples.images import decode_numbers, fit, stored_pixels

TOLERANCE = 0.05
"""Largest distance, metres, between a visible point and the surface in the depth image."""
_MILLIMETRES = 1000.0
_NEAREST = 0.256
"""A depth image without a larger depth, metres, holds 8 bits or another unit: the sensor begins at 0.4 m."""
_SAME_ASPECT = 0.03
"""Largest relative difference of the aspect ratios of a photo and its depth image (ScanNet's 1296x968 and 640x480:
0.004)."""


@dataclass(frozen=True)
class Views:
    """V photos of a scene and their pairs."""

    cameras: tuple[str, ...]
    images: tuple[bytes, ...]
    pair_points: NDArray[np.int32]
    """[M] ordered by image, then by point."""
    pair_pixels: NDArray[np.int16]
    """[M, 3] (image, row, column) of the stored image."""
    lost: int = 0
    """Photos that are left out, as their pose is not known."""


def read_views(root: Path, folder: str, points: NDArray[np.float32], size: Size) -> Views:
    """The photos of ROOT/folder at the stored size, named view-000, view-001, ..., and their pairs.

    Source: clip2scene.md 1.6. Photos whose pose is not finite, or zero (tracking was lost), are left out: no point
    can be paired with them. Raises FrameError for anything wrong with the files.
    """
    stems = sorted(path.stem for path in not_hidden((root / folder / "color").glob("*.jpg")))
    if not stems:
        raise FrameError(f"{folder}/color under {root} has no .jpg files")
    name = f"{folder}/intrinsics_depth.txt"
    intrinsic = read_matrix(root, name)[:3, :3]
    _named(name, require_pinhole, intrinsic)
    images: list[bytes] = []
    pair_points, pair_pixels = [np.empty(0, np.int32)], [np.empty((0, 3), np.int16)]
    for stem in stems:
        pose = read_matrix(root, f"{folder}/pose/{stem}.txt")
        if not np.isfinite(pose).all() or not pose.any():
            continue
        _named(f"{folder}/pose/{stem}.txt, the pose of {stem}.jpg", require_rigid, pose)
        image, depth = _photo(root, folder, stem, size)
        try:
            seen, pixels = visible(points, pose, intrinsic, depth)
        except ValueError as error:
            raise FrameError(f"{folder}/color/{stem}.jpg: {error}") from None
        pair_points.append(seen.astype(np.int32))
        pair_pixels.append(np.insert(stored_pixels(pixels, depth.shape, size), 0, len(images), 1))
        images.append(image)
    cameras = tuple(f"view-{number:03d}" for number in range(len(images)))
    return Views(
        cameras,
        tuple(images),
        np.concatenate(pair_points),
        np.concatenate(pair_pixels),
        len(stems) - len(images),
    )


def _named(name: str, require: Callable[[Matrix], None], matrix: Matrix) -> None:
    """A check of a matrix whose FrameError names its file."""
    try:
        require(matrix)
    except ValueError as error:
        raise FrameError(f"{name}: {error}") from None


def _photo(root: Path, folder: str, stem: str, size: Size) -> tuple[bytes, Matrix]:
    """A photo at the stored size, and its depth image [H, W] in metres, 0 where nothing was measured."""
    name, depth_name = f"{folder}/color/{stem}.jpg", f"{folder}/depth/{stem}.png"
    data, depth_data = read_bytes(root, name), read_bytes(root, depth_name)
    try:
        image = fit(data, None, size)
    except FrameError as error:
        raise FrameError(f"{name}: {error}") from None
    try:
        depth = decode_numbers(depth_data) / _MILLIMETRES
    except FrameError as error:
        raise FrameError(f"{depth_name}: {error}") from None
    if 0 < depth.max(initial=0) < _NEAREST:
        raise FrameError(
            f"{depth_name} measures at most {depth.max():.3f} m; depths are 16-bit numbers, in millimetres"
        )
    (height, width), shape = image_size(data), depth.shape
    if len(shape) != 2 or abs(width * shape[0] / (height * shape[1]) - 1) > _SAME_ASPECT:
        raise FrameError(
            f"{name} is {width}x{height} pixels, which does not fit {depth_name} of {shape[::-1]}"
        )
    return image, depth


def visible(
    points: NDArray[np.float32], pose: Matrix, intrinsic: Matrix, depth: Matrix
) -> tuple[NDArray[np.intp], Matrix]:
    """Which points a depth camera saw, and where.

    Takes [N, 3] points (metres), the 4x4 transform from the camera's frame (x right, y down, z forward) to theirs,
    the 3x3 intrinsic matrix of the depth image, and that image [H, W] (metres, 0 = nothing measured). Returns the
    indices [M], in order, of the points that are in front of the camera, inside the image, and within 5 cm of the
    depth at the nearest pixel; and their [M, 2] pixels (u, v), rounded down as in the paper's code. Raises
    ValueError for a broken pose or intrinsic matrix, or one for another image size.
    """
    require_rigid(pose)
    require_pinhole(intrinsic)
    height, width = depth.shape
    require_centred(intrinsic, (height, width))
    # einsum, because BLAS would start threads for products this thin.
    camera = inverse(pose)
    moved = np.einsum("ij,nj->in", camera[:3, :3], points.astype(np.float64)) + camera[:3, 3:]
    ahead = np.flatnonzero(moved[2] > 0)
    image = np.einsum("ij,jn->in", intrinsic, moved[:, ahead])
    u, v = image[:2] / image[2]
    inside = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    u, v, ahead = u[inside], v[inside], ahead[inside]
    measured = depth[np.rint(v).astype(int), np.rint(u).astype(int)]
    near = (measured > 0) & (np.abs(measured - moved[2, ahead]) <= TOLERANCE)
    return ahead[near], np.floor(np.stack([u[near], v[near]], 1))
