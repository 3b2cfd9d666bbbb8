"""Upright solids and their ray intersections: boxes, cylinders, cones and ellipsoids, each in its unit frame.

A solid is a unit shape, scaled by its half sizes, rotated by a yaw, and translated. A ray keeps its parameter t
when transformed into the unit frame, so a shape needs one formula: the nearest t at which the ray enters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Kind(IntEnum):
    BOX = 0
    CYLINDER = 1
    """Vertical axis."""
    CONE = 2
    """Vertical axis, apex up."""
    ELLIPSOID = 3


@dataclass(frozen=True)
class Solids:
    """P solids at one moment, placed relative to one sensor: metres, axes of the world (z up)."""

    kind: NDArray[np.uint8]
    """[P] a `Kind`."""
    centre: Floats
    """[P, 3] from the sensor."""
    half: Floats
    """[P, 3] half sizes along the solid's own axes."""
    cos: Floats
    """[P] of the yaw."""
    sin: Floats
    """[P]"""

    def corners(self) -> Floats:
        """[P, 8, 3] of the boxes around the solids; corner 4x + 2y + z, where 1 is the positive side."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
        local = signs * self.half[:, None]
        cos, sin = self.cos[:, None], self.sin[:, None]
        x, y = local[..., 0], local[..., 1]
        turned = np.stack((cos * x - sin * y, sin * x + cos * y, local[..., 2]), -1)
        return turned + self.centre[:, None]

    def to_local(self, vectors: Floats, index: NDArray[np.integer] | slice = slice(None)) -> Floats:
        """Rotate world vectors [N, 3] into the axes of the solids `index` [N] (metres, not unit scale)."""
        cos, sin = self.cos[index], self.sin[index]
        x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
        return np.stack((cos * x + sin * y, cos * y - sin * x, z), -1)

    def enter(self, index: int, rays: Floats) -> Floats:
        """Nearest positive t at which rays [3, ...] from the sensor enter one solid; inf where they miss."""
        hx, hy, hz = (float(value) for value in self.half[index])
        cos, sin = float(self.cos[index]), float(self.sin[index])
        x, y, z = (-float(value) for value in self.centre[index])
        origin = ((cos * x + sin * y) / hx, (cos * y - sin * x) / hy, z / hz)
        ray = (
            rays[0] * (cos / hx) + rays[1] * (sin / hx),
            rays[1] * (cos / hy) - rays[0] * (sin / hy),
            rays[2] * (1 / hz),
        )
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t = _ENTER[self.kind[index]](origin, ray)
            return np.where(t > 0, t, np.float32(np.inf))  # nan, a root of a negative number, is a miss


Origin = tuple[float, float, float]
Ray = tuple[Floats, Floats, Floats]


def _slab(origin: float, ray: Floats) -> tuple[Floats, Floats]:
    """Where rays are between -1 and 1 on one axis: from t0 to t1."""
    inverse = np.reciprocal(ray)
    middle, width = np.float32(-origin) * inverse, np.abs(inverse)
    return middle - width, middle + width


def _inside(start: Floats, end: Floats) -> Floats:
    return np.where(start <= end, start, np.float32(np.nan))


def _box(origin: Origin, ray: Ray) -> Floats:
    (x0, x1), (y0, y1), (z0, z1) = (_slab(o, r) for o, r in zip(origin, ray, strict=True))
    return _inside(np.maximum(np.maximum(x0, y0), z0), np.minimum(np.minimum(x1, y1), z1))


def _cylinder(origin: Origin, ray: Ray) -> Floats:
    (ox, oy, oz), (x, y, z) = origin, ray
    a = x * x + y * y
    aside = ox * y - oy * x
    root = np.sqrt(a - aside * aside) / a
    middle = -(ox * x + oy * y) / a
    z0, z1 = _slab(oz, z)
    return _inside(np.maximum(middle - root, z0), np.minimum(middle + root, z1))


def _cone(origin: Origin, ray: Ray) -> Floats:
    """Radius (1 - z) / 2 at height z: 1 at the base (z = -1), 0 at the apex (z = 1)."""
    (ox, oy, oz), (x, y, z) = origin, ray
    top = 1 - oz
    a = x * x + y * y - z * z / 4
    b = ox * x + oy * y + top * z / 4
    c = ox * ox + oy * oy - top * top / 4
    root = np.sqrt(b * b - a * c)
    nearest = np.full(a.shape, np.inf, np.float32)
    for t in ((-b - root) / a, (-b + root) / a):
        good = (t > 0) & (np.abs(oz + t * z) <= 1)
        np.copyto(nearest, np.minimum(nearest, t), where=good)
    base = (-1 - oz) / z
    px, py = ox + base * x, oy + base * y
    np.copyto(nearest, np.minimum(nearest, base), where=(base > 0) & (px * px + py * py <= 1))
    return nearest


def _ellipsoid(origin: Origin, ray: Ray) -> Floats:
    (ox, oy, oz), (x, y, z) = origin, ray
    a = x * x + y * y + z * z
    u, v, w = oy * z - oz * y, oz * x - ox * z, ox * y - oy * x
    root = np.sqrt(a - (u * u + v * v + w * w))
    return (-(ox * x + oy * y + oz * z) - root) / a


_ENTER: dict[int, Callable[[Origin, Ray], Floats]] = {
    Kind.BOX: _box,
    Kind.CYLINDER: _cylinder,
    Kind.CONE: _cone,
    Kind.ELLIPSOID: _ellipsoid,
}


def normals(kind: NDArray[np.uint8], local: Floats, half: Floats) -> Floats:
    """[N, 3] outward unit normals, in the solids' axes, at surface points `local` [N, 3] (metres)."""
    unit = local / half
    size = np.abs(unit)
    normal = local / (half * half)  # right for ellipsoids; the others are overwritten
    box = kind == Kind.BOX
    face = np.argmax(size, 1)
    normal[box] = np.where(np.arange(3) == face[box, None], np.sign(unit[box]), 0)
    round_ = (kind == Kind.CYLINDER) | (kind == Kind.CONE)
    normal[round_, 2] = 0
    cone = kind == Kind.CONE
    slope = np.hypot(unit[:, 0], unit[:, 1])[cone] / (2 * half[cone, 2])
    normal[cone, 2] = slope
    flat = round_ & (size[:, 2] > 0.999)
    normal[flat] = np.sign(unit[flat]) * np.array([0, 0, 1], np.float32)
    length = np.sqrt((normal * normal).sum(1, keepdims=True))
    return (normal / np.maximum(length, 1e-12)).astype(np.float32)
