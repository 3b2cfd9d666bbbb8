"""Recordings of the sensors: point clouds with raw labels, photographs, and region captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datasets.synthetic.classes import CATEGORIES, STUFF, Raw
from datasets.synthetic.primitives import Floats, normals
from datasets.synthetic.render import SKY, Hits, trace
from datasets.synthetic.scene import Pose, Scene
from datasets.synthetic.sensors import Camera, Lidar
from datasets.synthetic.shading import color

LIDAR_RANGE = 70.0
"""Metres."""
GHOSTS = 0.002
"""Fraction of ghost points."""
REFLECTANCE = {
    Raw.PEDESTRIAN: 0.24,
    Raw.BARRIER: 0.40,
    Raw.CONE: 0.50,
    Raw.BUS: 0.34,
    Raw.CAR: 0.30,
    Raw.TRUCK: 0.36,
    Raw.ROAD: 0.12,
    Raw.SIDEWALK: 0.18,
    Raw.TERRAIN: 0.16,
    Raw.MANMADE: 0.30,
    Raw.VEGETATION: 0.20,
}
"""Mean reflectance of a class; classes overlap once instance, angle and noise are applied."""

Region = tuple[int, int, int, int, list[str]]
"""First row, first column, row after the last, column after the last, class names (largest first)."""


@dataclass(frozen=True)
class Scan:
    """One turn of the LiDAR: N points, in firing order."""

    points: Floats
    """[N, 5] x, y, z in LiDAR coordinates (metres), intensity 0..255, ring."""
    raw: NDArray[np.uint8]
    """[N] raw class; `Raw.NOISE` for ghosts."""
    thing: NDArray[np.int32]
    """[N] index of the thing in its scene; negative on the ground and for ghosts."""
    color: NDArray[np.uint8] | None = None
    """[N, 3] RGB of the surface, if requested."""


@dataclass(frozen=True)
class Photo:
    """One exposure of a camera."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    raw: NDArray[np.uint8]
    """[H, W] raw class; `Raw.NOISE` for the sky."""
    thing: NDArray[np.int32]
    """[H, W] index of the thing in its scene; negative for ground and sky."""
    visible: dict[int, float]
    """Thing with a box -> unoccluded fraction of its outline inside the picture."""


def scan(
    scene: Scene,
    lidar: Lidar,
    time: float,
    rng: np.random.Generator,
    ego: Pose | None = None,
    colored: bool = False,
) -> Scan:
    """The LiDAR's turn at `time`, seen from the ego vehicle's pose at that time, or from `ego`."""
    hits = trace(scene, lidar, lidar.mount.then(ego or scene.ego_pose(time)), time)
    range_ = np.where(hits.part == SKY, np.inf, hits.t)
    # weak echoes get lost: one in twenty nearby, half of them at the end of the range
    lost = 0.05 + 0.45 * (np.minimum(range_, LIDAR_RANGE) / LIDAR_RANGE) ** 2
    returned = (range_ < LIDAR_RANGE) & (rng.random(range_.shape, np.float32) > lost)
    # columns turn clockwise like the sensor; all rings of a column fire at once
    returned = returned.T[::-1]
    order = np.flatnonzero(returned)
    ghost = rng.random(len(order), np.float32) < GHOSTS
    measured = range_.T[::-1].ravel()[order] + rng.normal(0, 0.02, len(order)).astype(np.float32)
    measured = np.where(ghost, measured * rng.uniform(0.2, 0.95, len(order)).astype(np.float32), measured)
    rays = lidar.rays.transpose(2, 1, 0)[::-1].reshape(-1, 3)[order]
    ring = (order % lidar.beams).astype(np.float32)
    intensity = _intensity(hits, rng).T[::-1].ravel()[order]
    points = np.concatenate((rays * measured[:, None], intensity[:, None], ring[:, None]), 1)
    raw = np.where(ghost, np.uint8(Raw.NOISE), hits.raw().T[::-1].ravel()[order])
    thing = np.where(ghost, SKY, hits.thing.T[::-1].ravel()[order])
    shades = _bytes(color(hits)).transpose(1, 0, 2)[::-1].reshape(-1, 3)[order] if colored else None
    return Scan(points.astype(np.float32), raw, thing.astype(np.int32), shades)


def _bytes(shades: Floats) -> NDArray[np.uint8]:
    """Colors of about 0..1 -> 0..255."""
    return np.round(np.clip(shades, 0, 1) * 255).astype(np.uint8)


def _intensity(hits: Hits, rng: np.random.Generator) -> Floats:
    """[beams, azimuths] integers 0..255: class x instance x angle of incidence, with noise."""
    scene, raw = hits.scene, hits.raw()
    table = np.array([REFLECTANCE.get(Raw(index), 0.0) if index in set(Raw) else 0.0 for index in range(32)])
    facing = np.abs(hits.rays[2])
    solid = hits.part >= 0
    part = hits.part[solid]
    local = hits.solids.to_local(hits.positions(solid) - hits.solids.centre[part], part)
    normal = normals(hits.solids.kind[part], local, hits.solids.half[part])
    ray = hits.solids.to_local(hits.rays[:, solid].T, part)
    facing[solid] = np.abs((normal * ray).sum(1))
    shine = np.ones(raw.shape, np.float32)
    shine[solid] = scene.shine[scene.owner[part]]
    value = table[raw] * shine * (0.4 + 0.6 * facing) + rng.normal(0, 0.03, raw.shape)
    return np.round(np.clip(value, 0, 1) * 255).astype(np.float32)


def photograph(
    scene: Scene, camera: Camera, time: float, rng: np.random.Generator, ego: Pose | None = None
) -> Photo:
    """An exposure at `time`, seen from the ego vehicle's pose at that time, or from `ego`."""
    hits = trace(scene, camera, camera.mount.then(ego or scene.ego_pose(time)), time, outlines=True)
    noise = rng.standard_normal((*camera.size, 3), np.float32) * np.float32(0.02)
    return Photo(_bytes(color(hits) + noise), hits.raw(), hits.thing, hits.visible)


def regions(scene: Scene, photo: Photo, rng: np.random.Generator, limit: int = 48) -> list[Region]:
    """Captioned regions of a photograph: up to half of them object boxes, the others squares around stuff.

    This is the only supervision of the tiny teacher (boxes and captions, never pixel labels). A box names its
    object; a square is centred at a random pixel of a class drawn uniformly from the stuff in view, and names the
    classes that cover more than 15 % of it.
    """
    boxes = _object_boxes(scene, photo)
    chosen = rng.permutation(len(boxes))[: limit // 2]
    squares = [_square(photo, rng) for _ in range(limit // 2)]
    return [boxes[index] for index in chosen] + [square for square in squares if square is not None]


def _object_boxes(scene: Scene, photo: Photo) -> list[Region]:
    """Bounding boxes of the visible part of each object: at least 4 px per side and 35 % visible."""
    boxes: list[Region] = []
    for thing, share in sorted(photo.visible.items()):
        rows, columns = np.nonzero(photo.thing == thing)
        if share < 0.35 or not len(rows):
            continue
        r0, c0, r1, c1 = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        if min(r1 - r0, c1 - c0) >= 4:
            name = CATEGORIES[Raw(int(scene.raw[thing]))][1]
            boxes.append((int(r0), int(c0), int(r1), int(c1), [name]))
    return boxes


def _square(photo: Photo, rng: np.random.Generator) -> Region | None:
    """A square of 1/8 to 3/7 of the image's height (14 to 48 px of 112), cut at the image's edge."""
    height, width = photo.raw.shape
    present = [raw for raw in STUFF if (photo.raw == raw).any()]
    if not present:
        return None
    pixels = np.flatnonzero(photo.raw == present[int(rng.integers(len(present)))])
    row, column = divmod(int(pixels[rng.integers(len(pixels))]), width)
    side = int(rng.integers(height // 8, height * 3 // 7 + 1))
    r0, c0 = max(row - side // 2, 0), max(column - side // 2, 0)
    r1, c1 = min(row - side // 2 + side, height), min(column - side // 2 + side, width)
    shares = np.bincount(photo.raw[r0:r1, c0:c1].ravel(), minlength=32) / ((r1 - r0) * (c1 - c0))
    most_first = np.argsort(-shares, kind="stable")
    names = [CATEGORIES[Raw(int(i))][1] for i in most_first if shares[i] > 0.15 and i != Raw.NOISE]
    return (r0, c0, r1, c1, names) if names else None
