"""Shared by the adapters: reading a data set's files, with one clear line about what is wrong with them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenelift.errors import FrameError
from scenelift.geometry.transforms import Matrix

Size = tuple[int, int]
"""(height, width) in pixels."""


def read_bytes(root: Path, name: str) -> bytes:
    """Content of the file `name` below `root`; FrameError if it does not exist or cannot be read."""
    try:
        return (root / name).read_bytes()
    except FileNotFoundError:
        raise FrameError(f"{name} is missing under {root}") from None
    except OSError as error:
        raise FrameError(f"{name} cannot be read: {error.strerror}") from None


def read_points(root: Path, name: str, width: int) -> NDArray[np.float32]:
    """[N, width] the points of a file of raw float32 values; FrameError if truncated, empty or not finite."""
    data = read_bytes(root, name)
    if not data or len(data) % (4 * width):
        raise FrameError(f"{name} is truncated: {len(data)} bytes are not a whole number of points")
    return require_finite(name, np.frombuffer(data, "<f4").reshape(-1, width))


def require_finite(name: str, points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The points unchanged; FrameError if one is not finite."""
    if not np.isfinite(points).all():
        raise FrameError(f"{name} has points that are not finite")
    return points


def read_matrix(root: Path, name: str) -> Matrix:
    """[4, 4] from a text file of 16 numbers, which may be inf or nan; FrameError for anything else."""
    try:
        return np.array(read_bytes(root, name).split(), np.float64).reshape(4, 4)
    except ValueError:
        raise FrameError(f"{name} is not a 4x4 matrix of numbers") from None


def image_size(data: bytes) -> Size:
    """Size of an encoded image from its header alone; `scenelift.samples.images` checks that it is complete."""
    with Image.open(io.BytesIO(data)) as image:
        return image.height, image.width


def require_centred(intrinsic: Matrix, size: Size) -> None:
    """ValueError unless the optical axis meets the middle half of the image; otherwise it was resized or cropped.

    In data sets that do not state image sizes, points would otherwise be paired with wrong pixels, unnoticed.
    """
    height, width = size
    u, v = intrinsic[0, 2], intrinsic[1, 2]
    if not (width / 4 < u < 3 * width / 4 and height / 4 < v < 3 * height / 4):
        raise ValueError(
            f"the image is {width}x{height} pixels, but the calibration has its centre at {u:.0f}, {v:.0f}; "
            "use the data set's original images"
        )
