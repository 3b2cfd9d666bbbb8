"""Ray tracing: for every ray of a sensor, the nearest thing that it hits.

A z-buffer of analytic intersections: each solid is intersected only with the rays of its own window (see
`datasets.synthetic.sensors`), nearest solids first, so that hidden ones are skipped early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.classes import Raw
from datasets.synthetic.primitives import Floats, Solids
from datasets.synthetic.scene import Pose, Scene
from datasets.synthetic.sensors import Sensor

GROUND, SKY = -1, -2
"""Values of `Hits.part` that are not parts."""
FAR = 110.0
"""Nothing farther is drawn, metres."""


@dataclass(frozen=True)
class Hits:
    """The hits of the rays [H, W] of one sensor at one moment."""

    scene: Scene
    solids: Solids
    pose: Pose
    """Sensor coordinates to scene coordinates."""
    rays: Floats
    """[3, H, W] directions in scene coordinates."""
    t: Floats
    """[H, W] ray parameter of the hit; inf for the sky."""
    part: NDArray[np.int32]
    """[H, W] index of the part, `GROUND` or `SKY`."""
    visible: dict[int, float]
    """Thing with a box -> unoccluded fraction of its main part's outline inside the view."""

    @property
    def thing(self) -> NDArray[np.int32]:
        """[H, W] index of the thing, `GROUND` or `SKY`."""
        owner = self.scene.owner.astype(np.int32)
        return np.where(self.part >= 0, owner[self.part], self.part)

    def positions(self, where: NDArray[np.bool_]) -> Floats:
        """[N, 3] hit points of the rays `where` [H, W], from the sensor, axes of the scene, metres."""
        return (self.rays[:, where] * self.t[where]).T

    def raw(self) -> NDArray[np.uint8]:
        """[H, W] raw class of every ray; `Raw.NOISE` for the sky."""
        raw = np.full(self.part.shape, Raw.NOISE, np.uint8)
        solid, ground = self.part >= 0, self.part == GROUND
        raw[solid] = self.scene.raw[self.scene.owner[self.part[solid]]]
        x, y, _ = self.positions(ground).T + self.pose.translation.astype(np.float32)[:, None]
        raw[ground] = self.scene.street.raw(x, y)
        return raw


def turn(rotation: NDArray[np.float64], vectors: Floats) -> Floats:
    """Rotate vectors [3, ...]; written out, so that threads and rounding do not depend on a BLAS."""
    r = rotation.astype(np.float32)
    x, y, z = vectors
    return np.stack([r[axis, 0] * x + r[axis, 1] * y + r[axis, 2] * z for axis in range(3)])


def trace(scene: Scene, sensor: Sensor, pose: Pose, time: float, outlines: bool = False) -> Hits:
    """The hits of every ray of a sensor at `pose` at `time` (seconds); `outlines` enables `Hits.visible`."""
    rays = turn(pose.rotation, sensor.rays)
    solids = scene.solids(time, pose.translation)
    t = scene.street.enter(pose.translation, rays.reshape(3, -1), FAR).reshape(rays.shape[1:])
    part = np.where(np.isfinite(t), GROUND, SKY).astype(np.int32)
    shapes = _fill(scene, sensor, pose, solids, rays, t, part, outlines)
    visible = _visible(scene, part, shapes)
    return Hits(scene, solids, pose, rays, t, part, visible)


_Shape = tuple[int, tuple[slice, slice], NDArray[np.bool_]]


def _fill(
    scene: Scene,
    sensor: Sensor,
    pose: Pose,
    solids: Solids,
    rays: Floats,
    t: Floats,
    part: NDArray[np.int32],
    outlines: bool,
) -> list[_Shape]:
    """Intersect all solids; updates `t` and `part`, returns (thing, window, outline) of things with boxes."""
    near = np.sqrt((solids.centre**2).sum(1)) - np.sqrt((solids.half**2).sum(1))
    longest = np.sqrt((sensor.rays**2).sum(0).max())  # t is at least distance / longest
    windows = sensor.windows(solids, pose.rotation)
    windows = windows[near[windows[:, 0]] < FAR]
    windows = windows[np.argsort(near[windows[:, 0]], kind="stable")]
    watched = np.zeros(len(scene.owner), bool)
    watched[scene.main] = outlines & scene.boxed
    shapes: list[_Shape] = []
    for (index, *bounds), least in zip(
        windows.tolist(), (near / longest)[windows[:, 0]].tolist(), strict=True
    ):
        window = (slice(bounds[0], bounds[1]), slice(bounds[2], bounds[3]))
        depth = t[window]
        if not watched[index] and depth.max() < least:
            continue
        hit = solids.enter(index, rays[:, window[0], window[1]])
        closer = hit < depth
        np.copyto(depth, hit, where=closer)
        part[window][closer] = index
        if watched[index]:
            shapes.append((int(scene.owner[index]), window, np.isfinite(hit)))
    return shapes


def _visible(scene: Scene, part: NDArray[np.int32], shapes: list[_Shape]) -> dict[int, float]:
    visible: dict[int, float] = {}
    for thing, window, outline in shapes:
        front = part[window][outline]
        if front.size:
            visible[thing] = float(((front >= 0) & (scene.owner[front] == thing)).mean())
    return visible
