"""What real data can be: the checks that every reader and every kind of sample share.

A file of another type, unit or row layout is mostly read without a word, as wrong numbers; ranges that no real
sensor, calibration or detector leaves tell it apart. Each check takes the name that its message begins with, and
raises FrameError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scenelift.errors import FrameError

FARTHEST = 1e4
"""Largest coordinate of a scan's point, metres: far beyond any LiDAR, and within the voxel grid of any network."""
_LOW_BITS = 0x1FFFFFFF
"""Bits of a float64's lower half that are 0 if its value was a float32."""
FARTHEST_IN_ROOM = 1e3
"""Largest coordinate of a room's point, metres; a room in millimetres is beyond it."""
_BELIEF_ERROR = 0.01
"""Largest deviation from 1 of the sum of a region's probabilities; 16-bit rounding makes 0.0005."""
_BEYOND = 0.1
"""How far a box may reach over the image's edge, as a share of its side, ..."""
_MANY = 0.4
"""... if it is not one of so many: then the boxes are of another image size."""


def require_finite(name: str, values: NDArray[Any], what: str = "points") -> None:
    """Every number is finite."""
    if not np.isfinite(values).all():
        raise FrameError(f"{name} has {what} that are not finite")


def require_metres(name: str, points: NDArray[np.floating], farthest: float = FARTHEST) -> None:
    """[N, 3] points are finite and at most `farthest` metres away along each axis."""
    require_finite(name, points)
    reach = float(np.abs(points).max(initial=0))
    if reach > farthest:
        raise FrameError(
            f"{name} has a point {reach:.3g} m from the origin, more than {farthest:,.0f}; coordinates are "
            "float32, in metres"
        )


def holds_doubles(data: bytes) -> bool:
    """Whether raw values are float32 ones that were saved as float64; what has more digits leaves any range."""
    if len(data) % 8 or len(data) < 64:
        return False
    halves = np.frombuffer(data, "<u4").reshape(-1, 2)
    return not (halves[:, 0] & _LOW_BITS).any() and bool(np.unique(halves[:, 1]).size > 2)


def require_range(name: str, values: NDArray[Any], low: float, high: float, what: str) -> None:
    """Every value is in low..high; a value that is not finite is not."""
    if not len(values):
        return
    least, most = values.min(), values.max()
    if not (least >= low and most <= high):
        raise FrameError(f"{name} has {what} that are not {low:g}..{high:g}, but {least:g}..{most:g}")


def require_bytes(name: str, values: NDArray[Any], what: str) -> None:
    """Values are 0..255, and not shares of 1 that were never scaled to it."""
    require_range(name, values, 0, 255, what)
    if len(values) and 0 < values.max() <= 1 and (values % 1).any():
        raise FrameError(f"{name} has {what} of 0..1, not 0..255; multiply them by 255")


def require_regions(name: str, boxes: NDArray[np.floating], size: tuple[int, int]) -> None:
    """[R, 4] boxes x1, y1, x2, y2 are finite, in order, and in pixels of an image of (height, width) `size`.

    Boxes without area pass, and a few outside of the image: they can be cut or left out.
    """
    require_finite(name, boxes, "boxes")
    if not boxes.any():
        return
    if boxes.max() <= 1.01 < min(size):
        raise FrameError(f"{name} has boxes in shares of the image's sides; multiply them by its pixels")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise FrameError(
            f"{name} has a box whose right or lower side comes first; boxes are x1, y1, x2, y2, and these may be "
            "x, y, width, height"
        )
    sides = np.array([size[1], size[0]] * 2, np.float64)
    beyond = (np.maximum(boxes / sides - 1, -boxes / sides) > _BEYOND).any(1).mean()
    if beyond > _MANY:
        raise FrameError(
            f"{name} has boxes of which {beyond:.0%} reach far over the edge of the image of {size[1]}x{size[0]} "
            "pixels; boxes are pixels of that image, not of a resized one"
        )


def require_beliefs(name: str, beliefs: NDArray[np.floating]) -> None:
    """[R, 1 + C] probabilities: none is negative, and each row's sum is 1."""
    require_finite(name, beliefs, "probabilities")
    if not len(beliefs):
        return
    sums = beliefs.sum(1, dtype=np.float64)
    if beliefs.min() < 0 or np.abs(sums - 1).max() > _BELIEF_ERROR:
        worst = sums[np.abs(sums - 1).argmax()]
        raise FrameError(
            f"{name} has class probabilities from {beliefs.min():.3g}, and a row whose sum is {worst:.3g}, not 1; "
            "take the softmax of logits"
        )


def require_array(name: str, what: str, array: Any, dtype: type[np.generic], shape: tuple[Any, ...]) -> None:
    """An array of a type and shape; None in the shape is any length."""
    kind = np.dtype(dtype)
    if not isinstance(array, np.ndarray):
        raise FrameError(f"{name}: {what} is a {type(array).__name__}, not an array of {kind}")
    fits = len(array.shape) == len(shape) and all(
        want in (None, have) for have, want in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise FrameError(f"{name}: {what} is {list(array.shape)}, not [{wanted}]")
    if array.dtype != kind:
        raise FrameError(f"{name}: {what} is {array.dtype}, not {kind}; convert it with .astype(np.{kind})")


def require_indices(name: str, what: str, indices: ArrayLike, count: int) -> None:
    """Every index is 0..count - 1."""
    values = np.asarray(indices)
    if len(values) and not (values.min() >= 0 and values.max() < count):
        raise FrameError(f"{name}: {what} {values.min()}..{values.max()} is not within 0..{count - 1}")


def together(*counts: Mapping[str, int]) -> dict[str, int]:
    """What was left out of several parts of the data, added up: reason -> number, by name; zeros are dropped."""
    reasons = sorted({reason for count in counts for reason in count})
    added = {reason: sum(count.get(reason, 0) for count in counts) for reason in reasons}
    return {reason: number for reason, number in added.items() if number}
