"""Which point a click means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEAR, _FAR = 0.006, 0.03
"""Angles from the ray, radians: points within the first are under the cursor; beyond the second none is meant."""


def pick(
    points: NDArray[np.floating], origin: NDArray[np.floating], direction: NDArray[np.floating]
) -> int | None:
    """The point [N, 3] that a ray means: the nearest to its origin of those under the cursor, else the one at the
    smallest angle, if that is small; None: none."""
    if not len(points):
        return None
    towards = points.astype(np.float64) - origin
    along = towards @ (np.asarray(direction, np.float64) / np.linalg.norm(direction))
    aside = np.sqrt(np.maximum(np.einsum("nk,nk->n", towards, towards) - along**2, 0))
    angles = np.where(along > 0, aside / np.maximum(along, 1e-9), np.inf)
    under = angles < _NEAR
    if under.any():
        return int(np.where(under, along, np.inf).argmin())
    nearest = int(angles.argmin())
    return nearest if angles[nearest] < _FAR else None
