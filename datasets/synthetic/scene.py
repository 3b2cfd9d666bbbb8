"""A scene: the things and their poses over time, the ego vehicle's drive, and the scene's appearance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.classes import OBJECTS, Raw
from datasets.synthetic.objects import Part
from datasets.synthetic.primitives import Solids
from datasets.synthetic.street import Street


def stream(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on the seed and the names alone."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


@dataclass(frozen=True)
class Pose:
    """Position and rotation: maps own coordinates to the parent's."""

    translation: NDArray[np.float64]
    """[3] metres."""
    rotation: NDArray[np.float64]
    """[3, 3]"""

    def then(self, parent: Pose) -> Pose:
        """This pose relative to the parent of `parent`."""
        moved = parent.rotation @ self.translation + parent.translation
        return Pose(moved, parent.rotation @ self.rotation)


def yaw_pose(x: float, y: float, z: float, yaw: float) -> Pose:
    """Upright pose, turned to the left by `yaw` radians."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return Pose(np.array([x, y, z]), np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))


@dataclass(frozen=True)
class Thing:
    """One thing of a scene; it moves along and across the street at constant speed."""

    raw: Raw
    parts: list[Part]
    x: float
    """Along the street at time 0, metres."""
    u: float
    """To the left of the centre line at time 0, metres."""
    yaw: float = 0.0
    """Relative to the street's heading, radians."""
    vx: float = 0.0
    """m/s along the street."""
    vu: float = 0.0
    """m/s to its left."""
    shine: float = 1.0
    """Factor on the LiDAR reflectance of its class."""


@dataclass(frozen=True)
class Look:
    """Light and ground of one scene."""

    sun: NDArray[np.float32]
    """[3] unit vector towards the sun."""
    ambient: float
    """Fraction of ambient light."""
    brightness: float
    tint: NDArray[np.float32]
    """[3] factor on red, green, blue."""
    fog: float
    """Extinction, 1/m."""
    sky: NDArray[np.float32]
    """[2, 3] color at the horizon and at the zenith."""
    ground: NDArray[np.float32]
    """[3, 3] color of road, sidewalk, terrain."""
    marking: NDArray[np.float32]
    """[3] color of the lines on the road."""
    blotch: float
    """Strength of the ground's random color changes."""


class Scene:
    """T things of P parts on a street, as arrays, in scene coordinates (metres, z up)."""

    def __init__(self, name: str, street: Street, look: Look, things: list[Thing], ego: Thing, place: Pose):
        self.name, self.street, self.look, self.ego = name, street, look, ego
        self.place = place
        """Scene coordinates to the data set's global frame."""
        self.raw = np.array([thing.raw for thing in things], np.uint8)
        self.shine = np.array([thing.shine for thing in things], np.float32)
        self._motion = np.array([(t.x, t.u, t.yaw, t.vx, t.vu) for t in things]).reshape(-1, 5)
        parts = [part for thing in things for part in thing.parts]
        self.owner = np.repeat(np.arange(len(things)), [len(thing.parts) for thing in things])
        """[P] index of the thing of each part."""
        self.kind = np.array([part.kind for part in parts], np.uint8)
        self.texture = np.array([part.texture for part in parts], np.uint8)
        self.color = np.array([part.color for part in parts], np.float32)
        self._offset = np.array([part.centre for part in parts])
        self._half = np.array([part.size for part in parts]) / 2
        self.boxed = np.isin(self.raw, OBJECTS)
        """[T] True for things that are instances with a box."""
        self.main = np.flatnonzero(np.diff(self.owner, prepend=-1))
        """[T] first part of each thing: its outline determines the thing's visibility."""

    @property
    def moving(self) -> NDArray[np.bool_]:
        """[T] True for things that move."""
        return (self._motion[:, 3:] != 0).any(1)

    def ego_pose(self, time: float) -> Pose:
        """Ego vehicle (x ahead, y left, z up) in scene coordinates at a time, seconds."""
        x = self.ego.x + self.ego.vx * time
        y = float(self.street.centre(np.array(x))) + self.ego.u
        return yaw_pose(x, y, 0.0, float(self.street.heading(np.array(x))))

    def poses(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position [T, 3] and yaw [T] of every thing."""
        x0, u0, turn, vx, vu = self._motion.T
        x = x0 + vx * time
        y = self.street.centre(x) + u0 + vu * time
        return np.stack((x, y, self.street.height(x, y)), 1), self.street.heading(x) + turn

    def solids(self, time: float, origin: NDArray[np.float64]) -> Solids:
        """Every part at a time, relative to a sensor at `origin`."""
        position, yaw = (values[self.owner] for values in self.poses(time))
        cos, sin = np.cos(yaw), np.sin(yaw)
        x, y, z = self._offset.T
        turned = np.stack((cos * x - sin * y, sin * x + cos * y, z), 1)
        half, centre = self._half.astype(np.float32), (position + turned - origin).astype(np.float32)
        return Solids(self.kind, centre, half, cos.astype(np.float32), sin.astype(np.float32))

    def boxes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centre [T, 3] in the thing's own frame and size [T, 3] (length, width, height) of each thing."""
        low = np.minimum.reduceat(self._offset - self._half, self.main)
        high = np.maximum.reduceat(self._offset + self._half, self.main)
        return (low + high) / 2, high - low
