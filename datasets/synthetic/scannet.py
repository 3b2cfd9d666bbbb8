"""Writing the world in ScanNet's layout: colored, labeled surfaces, and photographs with depth images and poses.

A street stands in for a room: it is scaled 1:10 to the size of a room, so that lengths in metres (voxels, the
depth test) remain suitable, and nothing in it moves. It is scanned from a few places along six metres of the ego
vehicle's lane (0.6 m after scaling), where a camera is turned in several directions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.synthetic.capture import Scan, photograph, scan
from datasets.synthetic.classes import CATEGORIES, Raw
from datasets.synthetic.config import WorldConfig
from datasets.synthetic.layouts import matrix_text
from datasets.synthetic.primitives import Floats
from datasets.synthetic.render import trace
from datasets.synthetic.scene import Pose, Scene, stream
from datasets.synthetic.sensors import Camera, build_rig
from datasets.synthetic.world import build
from scenelift.geometry.transforms import Matrix, compose, transform_points
from scenelift.io.ply import encode_vertices

SCALE = 0.1
"""Metres of a room per metre of a street."""
REACH = 3.0
"""Metres along the street from the middle of a room to the first and the last place."""
DEPTH_SHARE = (3, 4)
"""Size of a depth image relative to its photograph, as a fraction."""
FRAMES = "scannet_frames_25k"

NAMES = tuple(name for _, name, _ in CATEGORIES.values() if name)
"""Classes of the world; their NYU40 ids are 1, 2, ..."""
NYU40 = {raw: NAMES.index(name) + 1 if name else 0 for raw, (_, name, _) in CATEGORIES.items()}
"""Raw class -> NYU40 id."""

COLUMNS = (
    *("id", "raw_category", "category", "count", "nyu40id", "eigen13id", "nyuClass", "nyu40class"),
    *("eigen13class", "ModelNet40", "ModelNet10", "ShapeNetCore55", "synsetoffset", "wnsynsetid"),
    *("wnsynsetkey", "mpcat40", "mpcat40index"),
)
"""Of scannetv2-labels.combined.tsv."""
TABLE = "scannetv2-labels.combined.tsv"
_VERTEX = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue", "alpha")]


@dataclass(frozen=True)
class RoomRecord:
    """Result of writing one room."""

    name: str
    points: NDArray[np.int64]
    """[32] vertices by raw class."""


def folders(config: WorldConfig) -> list[Path]:
    """Every folder of rooms, relative to the root."""
    names = [name for scenes in config.splits().values() for name in scenes]
    parts = ("color", "depth", "pose")
    frames = [Path(FRAMES) / name / part for name in names for part in parts]
    return [*(Path("scans") / name for name in names), *frames]


def places(config: WorldConfig, scene: Scene) -> list[Pose]:
    """Where the ego vehicle stops to scan, in scene coordinates."""
    along = (
        np.linspace(-REACH, REACH, config.frames_per_scene) if config.frames_per_scene > 1 else np.zeros(1)
    )
    return [scene.ego_pose(distance / scene.ego.vx) for distance in along.tolist()]


def write_scene(config: WorldConfig, name: str) -> RoomRecord:
    """Scan one room, take its photographs, write its files."""
    scene, rig = build(config, name), build_rig(config, name)
    folder, raw, clouds = config.out / FRAMES / name, [], []
    for place, ego in enumerate(places(config, scene)):
        cloud = scan(scene, rig.lidar, 0.0, stream(config.seed, name, "scan", str(place)), ego, colored=True)
        raw.append(cloud.raw[cloud.raw != Raw.NOISE])
        clouds.append(_vertices(cloud, rig.lidar.mount.then(ego)))
        for turn, camera in enumerate(rig.cameras):
            number = place * len(rig.cameras) + turn
            _write_frame(folder, number, scene, camera, ego, stream(config.seed, name, "frame", str(number)))
    _write_intrinsics(folder, rig.cameras[0])
    _write_mesh(config.out / "scans" / name, name, np.concatenate(clouds), np.concatenate(raw))
    return RoomRecord(name, np.bincount(np.concatenate(raw), minlength=32))


def _vertices(cloud: Scan, pose: Pose) -> NDArray[np.void]:
    """[N] vertices in the room's frame; without ghosts, which no reconstructed surface has."""
    assert cloud.color is not None
    solid = cloud.raw != Raw.NOISE
    to_room = compose(SCALE * pose.rotation, SCALE * pose.translation)
    positions = transform_points(to_room, cloud.points[solid, :3])
    vertices = np.zeros(len(positions), _VERTEX)
    for axis, values in zip("xyz", positions.T, strict=True):
        vertices[axis] = values
    for channel, shades in zip(("red", "green", "blue"), cloud.color[solid].T, strict=True):
        vertices[channel] = shades
    vertices["alpha"] = 255
    return vertices


def _write_frame(
    folder: Path, number: int, scene: Scene, camera: Camera, ego: Pose, rng: np.random.Generator
) -> None:
    """A photograph, its depth image and its pose; numbered like the real ones, every hundredth of a video."""
    file = f"{100 * number:06d}"
    photo = photograph(scene, camera, 0.0, rng, ego)
    Image.fromarray(photo.image).save(folder / "color" / f"{file}.jpg", quality=92)
    depth = np.where(np.isfinite(depth := depth_image(scene, camera, ego)), depth, 0)
    Image.fromarray(np.round(1000 * depth).astype(np.uint16)).save(folder / "depth" / f"{file}.png")
    pose = camera.mount.then(ego)
    matrix = compose(pose.rotation, SCALE * pose.translation)
    (folder / "pose" / f"{file}.txt").write_text(matrix_text(matrix))


def depth_camera(camera: Camera) -> Camera:
    """The depth camera: at the color camera's pose, with a lower resolution."""
    share, parts = DEPTH_SHARE
    height, width = camera.size
    return replace(camera, size=(height * share // parts, width * share // parts))


def depth_image(scene: Scene, camera: Camera, ego: Pose) -> Floats:
    """[H, W] depth along the camera's axis, metres of the room; inf for the sky."""
    depth = depth_camera(camera)
    return trace(scene, depth, depth.mount.then(ego), 0.0).t * np.float32(SCALE)


def _write_intrinsics(folder: Path, camera: Camera) -> None:
    for name, kind in (("color", camera), ("depth", depth_camera(camera))):
        matrix: Matrix = np.eye(4)
        matrix[:3, :3] = kind.intrinsic
        (folder / f"intrinsics_{name}.txt").write_text(matrix_text(matrix))


def _write_mesh(folder: Path, name: str, vertices: NDArray[np.void], raw: NDArray[np.uint8]) -> None:
    """The vertices without and with labels; no faces."""
    table = np.zeros(32, np.uint16)
    table[list(NYU40)] = list(NYU40.values())
    labeled = np.zeros(len(vertices), [*_VERTEX, ("label", "<u2")])
    for field, _ in _VERTEX:
        labeled[field] = vertices[field]
    labeled["label"] = table[raw]
    (folder / f"{name}_vh_clean_2.ply").write_bytes(encode_vertices(vertices))
    (folder / f"{name}_vh_clean_2.labels.ply").write_bytes(encode_vertices(labeled))


def save(config: WorldConfig, records: Sequence[RoomRecord]) -> None:
    """The label table, the split lists, and nuScenes' words for the classes, which the teacher knows."""
    from datasets.nuscenes.classes import CLASSES  # imports torch, which rendering processes do not need

    counts = np.sum([record.points for record in records], 0)
    lines = ["\t".join(COLUMNS)]
    for raw, number in sorted(NYU40.items(), key=lambda pair: pair[1]):
        if number:
            name = NAMES[number - 1]
            known = {"id": number, "raw_category": name, "category": name, "count": counts[raw]}
            known |= {"nyu40id": number, "nyuClass": name, "nyu40class": name}
            lines.append("\t".join(str(known.get(column, "")) for column in COLUMNS))
    (config.out / TABLE).write_text("\n".join(lines) + "\n")
    for split, names in config.splits().items():
        (config.out / f"scannetv2_{split}.txt").write_text("\n".join(names) + "\n")
    words = {name: list(CLASSES[name].words) for name in NAMES}
    (config.out / "prompts.json").write_text(json.dumps(words, indent=2) + "\n")
