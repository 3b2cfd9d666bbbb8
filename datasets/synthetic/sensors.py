"""The rig: a spinning LiDAR and cameras, their rays, and the rays that can hit a solid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.config import CAMERA_YAWS, WorldConfig
from datasets.synthetic.primitives import Floats, Solids
from datasets.synthetic.scene import Pose, stream, yaw_pose

FIELD_OF_VIEW = 75.0
"""Horizontal field of view of nuScenes' cameras, degrees."""
ELEVATIONS = (-30.67, 10.67)
"""Lowest and highest beam of the 32-beam LiDAR of nuScenes, degrees."""
NEAR = 0.2
"""Nothing nearer to a camera is drawn, metres."""

Windows = NDArray[np.intp]
"""[K, 5] solid, first row, row after the last, first column, column after the last: rays that may hit it."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: x right, y down, z ahead. Whole coordinates are centres of pixels, as all adapters read
    them: pixel (r, c) covers [r - 0.5, r + 0.5) x [c - 0.5, c + 0.5)."""

    channel: str
    mount: Pose
    """Camera coordinates to the ego vehicle's."""
    size: tuple[int, int]
    """(height, width), pixels."""
    delay: float
    """Exposure time after the LiDAR keyframe, seconds (negative: before)."""
    field_of_view: float = FIELD_OF_VIEW
    """Horizontal field of view, degrees."""

    @property
    def intrinsic(self) -> NDArray[np.float64]:
        """[3, 3]"""
        height, width = self.size
        focal = width / 2 / np.tan(np.radians(self.field_of_view / 2))
        return np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])

    @cached_property
    def rays(self) -> Floats:
        """[3, H, W] directions in camera coordinates with z = 1, so that t is the depth in metres."""
        (focal, _, cx), (_, _, cy), _ = self.intrinsic
        height, width = self.size
        y, x = np.meshgrid((np.arange(height) - cy) / focal, (np.arange(width) - cx) / focal, indexing="ij")
        return np.stack((x, y, np.ones_like(x))).astype(np.float32)

    def windows(self, solids: Solids, rotation: NDArray[np.float64]) -> Windows:
        """Bounding rectangles of the projected corners, clipped at the near plane."""
        corners = solids.corners() @ rotation.astype(np.float32)
        start, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
        ahead = corners[..., 2] > NEAR
        cut = ahead[:, _EDGES[:, 0]] != ahead[:, _EDGES[:, 1]]
        depth = end[..., 2:] - start[..., 2:]
        share = (NEAR - start[..., 2:]) / np.where(depth == 0, 1, depth)
        points = np.concatenate((corners, start + share * (end - start)), 1)
        valid = np.concatenate((ahead, cut), 1)
        (focal, _, cx), (_, _, cy), _ = self.intrinsic
        z = np.where(valid, points[..., 2], 1)
        rows = _span(focal * points[..., 1] / z + cy, valid, self.size[0])
        columns = _span(focal * points[..., 0] / z + cx, valid, self.size[1])
        index = np.arange(len(corners))[:, None]
        return _keep(np.concatenate((index, rows, columns), 1))


_EDGES = np.array([(a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit])
"""[12, 2] corners of a box's edges, numbered as `Solids.corners` does."""


def _span(values: Floats, valid: NDArray[np.bool_], limit: int) -> NDArray[np.intp]:
    """[P, 2] first index and index after the last inside the range of the valid values [P, n]."""
    low = np.ceil(np.where(valid, values, np.inf).min(1)).clip(0, limit)
    high = (np.floor(np.where(valid, values, -np.inf).max(1)) + 1).clip(0, limit)
    return np.stack((low, high), 1).astype(np.intp)


def _keep(windows: NDArray[np.intp]) -> Windows:
    """The windows that are not empty."""
    return windows[(windows[:, 1] < windows[:, 2]) & (windows[:, 3] < windows[:, 4])]


@dataclass(frozen=True)
class Lidar:
    """A spinning LiDAR, upright (z up), so that its rows are elevations; its mount has its rotation."""

    mount: Pose
    """LiDAR coordinates to the ego vehicle's."""
    beams: int
    azimuths: int
    span: tuple[float, float] = ELEVATIONS
    """Lowest and highest beam, degrees."""

    @cached_property
    def elevations(self) -> NDArray[np.float64]:
        """[beams] radians, lowest first: the ring index."""
        return np.radians(np.linspace(*self.span, self.beams))

    @cached_property
    def rays(self) -> Floats:
        """[3, beams, azimuths] unit directions in LiDAR coordinates, so that t is the range in metres."""
        turn = 2 * np.pi * np.arange(self.azimuths) / self.azimuths
        up, turn = np.meshgrid(self.elevations, turn, indexing="ij")
        return np.stack((np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up))).astype(np.float32)

    def windows(self, solids: Solids, rotation: NDArray[np.float64]) -> Windows:
        """Ranges of azimuth and elevation; a range across azimuth 0 becomes two windows."""
        rows = self._rows(solids)
        first, count = self._columns(solids, np.arctan2(rotation[1, 0], rotation[0, 0]))
        index = np.arange(len(rows))
        unwrapped = np.stack((index, *rows.T, first, np.minimum(first + count, self.azimuths)), 1)
        wrapped = np.stack((index, *rows.T, np.zeros_like(first), first + count - self.azimuths), 1)
        return _keep(np.concatenate((unwrapped, wrapped)))

    def _rows(self, solids: Solids) -> NDArray[np.intp]:
        """[P, 2] beams between the lowest and the highest elevation of each box."""
        centre = np.abs(solids.to_local(solids.centre))[:, :2]
        near = np.hypot(*np.maximum(centre - solids.half[:, :2], 0).T)
        far = np.hypot(*(centre + solids.half[:, :2]).T)
        top, bottom = solids.centre[:, 2] + solids.half[:, 2], solids.centre[:, 2] - solids.half[:, 2]
        high = np.arctan2(top, np.where(top > 0, near, far))
        low = np.arctan2(bottom, np.where(bottom < 0, near, far))
        step = self.elevations[1] - self.elevations[0]
        values = (np.stack((low, high), 1) - self.elevations[0]) / step
        return _span(values, np.ones_like(values, bool), self.beams)

    def _columns(self, solids: Solids, yaw: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """First azimuth [P] (0..azimuths - 1) and number of azimuths [P] of each box."""
        corners = solids.corners()[:, ::2]  # the four of its outline from above
        middle = np.arctan2(solids.centre[:, 1], solids.centre[:, 0])
        angles = np.arctan2(corners[..., 1], corners[..., 0]) - middle[:, None]
        angles = (angles + np.pi) % (2 * np.pi) - np.pi
        step = 2 * np.pi / self.azimuths
        first = np.ceil((middle - yaw + angles.min(1)) / step)
        count = np.floor((middle - yaw + angles.max(1)) / step) + 1 - first
        around = (np.abs(solids.to_local(solids.centre)) < solids.half)[:, :2].all(1)
        first, count = np.where(around, 0, first), np.where(around, self.azimuths, count)
        return (first % self.azimuths).astype(np.intp), count.astype(np.intp)


Sensor = Camera | Lidar


@dataclass(frozen=True)
class Rig:
    """The sensors of one scene; calibrations differ slightly from scene to scene."""

    lidar: Lidar
    cameras: tuple[Camera, ...]


def build_rig(config: WorldConfig, scene: str) -> Rig:
    """The sensors of a scene, as nuScenes mounts them: the LiDAR's x to the right, its y ahead."""
    lidar = Lidar(yaw_pose(0.94, 0.0, 1.84, -np.pi / 2), config.sensors.beams, config.sensors.azimuths)
    cameras = tuple(_camera(config, scene, channel) for channel in config.cameras)
    return Rig(lidar, cameras)


def _camera(config: WorldConfig, scene: str, channel: str) -> Camera:
    """Looks outwards and slightly down; misaligned by up to half a degree."""
    rng = stream(config.seed, scene, "rig", channel)
    angle = CAMERA_YAWS[channel]
    yaw, pitch = np.radians(angle + rng.uniform(-0.5, 0.5)), np.radians(rng.uniform(5.0, 7.0))
    x, y = 0.9 + 0.8 * np.cos(yaw), 0.5 * np.sin(yaw)
    upright = yaw_pose(x, y, 1.5 + rng.uniform(-0.02, 0.02), yaw)
    delay = -0.045 + 0.04 * ((55.0 - angle) % 360.0) / 360.0  # the LiDAR sweeps past clockwise
    return Camera(channel, looking(pitch).then(upright), config.sensors.image_size, delay)


def looking(pitch: float) -> Pose:
    """From camera coordinates, looking down by `pitch` radians, to upright ones (x ahead, y left, z up)."""
    cos, sin = np.cos(pitch), np.sin(pitch)
    axes = np.array([[0.0, -sin, cos], [-1.0, 0.0, 0.0], [0.0, -cos, -sin]])
    return Pose(np.zeros(3), axes)
