"""Writing the world in SemanticKITTI's layout: 64 beams and a front camera, labels and a photograph for every scan.

Scenes become drives of consecutive scans at 10 Hz. SemanticKITTI has ten sequences for training and one for
validation, so a sequence consists of several drives, and its poses and times jump where a new drive begins: to
another street, a thousand seconds later.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.synthetic.capture import Scan, photograph, scan
from datasets.synthetic.classes import Raw
from datasets.synthetic.config import SWEEP_INTERVAL, WorldConfig
from datasets.synthetic.layouts import matrix_text
from datasets.synthetic.scene import Pose, Scene, stream, yaw_pose
from datasets.synthetic.sensors import Camera, Lidar, looking
from datasets.synthetic.world import build
from scenelift.geometry.transforms import Matrix, compose, inverse

SEQUENCES = {"train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"), "val": ("08",)}
"""Sequences by split, as the benchmark has them."""
PARTS = ("velodyne", "labels", "image_2")
BETWEEN = 1000.0
"""Seconds between the starts of consecutive drives in a sequence."""
ELEVATIONS = (-24.8, 2.0)
"""Lowest and highest beam, degrees."""
FIELD_OF_VIEW = 81.4
"""Horizontal field of view of KITTI's camera 2, degrees. KITTI's is level; ours looks down by about 4 degrees, so
that the horizon is as high in its flat image (37 % from the top) as in the tiny teacher's training images."""
BASELINE = np.array([0.06, 0.0, 0.003])
"""Translation from camera 0 coordinates to camera 2 coordinates, metres."""

LABELS = {
    Raw.NOISE: 0,
    Raw.CAR: 10,
    Raw.BUS: 13,
    Raw.TRUCK: 18,
    Raw.PEDESTRIAN: 30,
    Raw.ROAD: 40,
    Raw.SIDEWALK: 48,
    Raw.MANMADE: 50,
    Raw.BARRIER: 51,
    Raw.VEGETATION: 70,
    Raw.TERRAIN: 72,
    Raw.CONE: 99,
}
"""Raw class -> SemanticKITTI's label; traffic cones are "other object", which is not evaluated."""
MOVING_LABELS = {Raw.CAR: 252, Raw.PEDESTRIAN: 254, Raw.BUS: 257, Raw.TRUCK: 258}
"""Labels of moving things."""

WORDS = {
    "other-vehicle": ["bus"],
    "building": ["manmade", "building", "wall", "pole"],
    "fence": ["barrier", "road barrier"],
    **{name: ["train"] for name in ("parking", "other-ground", "trunk", "pole", "traffic-sign")},
}
"""Prompt words that the tiny teacher knows. Buses, barriers, and poles labeled as buildings have their own words;
classes that do not occur in this world are all called a thing that does not occur either: trains."""


@dataclass(frozen=True)
class Rig:
    """The sensors of one sequence."""

    lidar: Lidar
    """x ahead, y left, z up."""
    camera: Pose
    """Camera 0, to which the poses refer, in the ego vehicle's coordinates."""
    color: Camera
    """Camera 2, which takes the photographs."""

    @property
    def camera_from_lidar(self) -> Matrix:
        """[4, 4] from the LiDAR to camera 0: Tr."""
        return inverse(_matrix(self.camera)) @ _matrix(self.lidar.mount)


@dataclass(frozen=True)
class DriveRecord:
    """Result of writing one drive, for its sequence."""

    name: str
    sequence: str
    times: NDArray[np.float64]
    """[S] time of each scan, seconds since the start of the sequence."""
    poses: Matrix
    """[S, 4, 4] camera 0 in the global frame."""
    points: NDArray[np.int64]
    """[32] points of keyframes (the last of each 1 + `sweeps` scans) by raw class."""


def scans_per_drive(config: WorldConfig) -> int:
    """Each keyframe and its sweeps are scans of their own."""
    return config.frames_per_scene * (1 + config.lidar_sweeps)


def place_of(config: WorldConfig, name: str) -> tuple[str, int]:
    """Sequence of a drive, and the number of earlier drives in it; drives are assigned round-robin."""
    for split, names in config.splits().items():
        if name in names:
            before, place = divmod(names.index(name), len(SEQUENCES[split]))
            return SEQUENCES[split][place], before
    raise AssertionError(name)


def sequences(config: WorldConfig) -> list[str]:
    """Sequences that have drives."""
    return sorted({place_of(config, name)[0] for names in config.splits().values() for name in names})


def build_rig(config: WorldConfig, sequence: str) -> Rig:
    """The sensors of a sequence; calibrations differ a little from sequence to sequence."""
    rng, sensors = stream(config.seed, "sequence", sequence), config.sensors
    lidar = Lidar(yaw_pose(0.2, 0.0, 1.73, 0.0), sensors.beams, sensors.azimuths, ELEVATIONS)
    yaw, pitch = np.radians(rng.uniform((-0.5, 3.5), (0.5, 4.5)))
    camera = looking(pitch).then(yaw_pose(0.47, 0.0, 1.65 + rng.uniform(-0.02, 0.02), yaw))
    beside = Pose(-BASELINE, np.eye(3)).then(camera)
    return Rig(lidar, camera, Camera("image_2", beside, sensors.image_size, 0.0, FIELD_OF_VIEW))


def folders(config: WorldConfig) -> list[Path]:
    """Every folder of scans, relative to the root."""
    return [Path("sequences") / sequence / part for sequence in sequences(config) for part in PARTS]


def write_scene(config: WorldConfig, name: str) -> DriveRecord:
    """Render one drive and write its scans, labels and photographs."""
    sequence, before = place_of(config, name)
    scene, rig, folder = build(config, name), build_rig(config, sequence), config.out / "sequences" / sequence
    count, points = scans_per_drive(config), np.zeros(32, np.int64)
    times = np.arange(-config.lidar_sweeps, count - config.lidar_sweeps) * np.float64(SWEEP_INTERVAL)
    for index, time in enumerate(times.tolist()):
        random = partial(stream, config.seed, name, str(index))
        cloud = scan(scene, rig.lidar, time, random("velodyne"))
        photo = photograph(scene, rig.color, time, random("image_2"))
        file = f"{before * count + index:06d}"
        _save_scan(folder, file, cloud, scene)
        Image.fromarray(photo.image).save(folder / "image_2" / f"{file}.png")
        if index % (1 + config.lidar_sweeps) == config.lidar_sweeps:
            points += np.bincount(cloud.raw, minlength=32)
    poses = [_matrix(rig.camera.then(scene.ego_pose(time)).then(scene.place)) for time in times.tolist()]
    since = times - times[0] + before * BETWEEN
    return DriveRecord(name, sequence, since, np.stack(poses), points)


def _save_scan(folder: Path, file: str, cloud: Scan, scene: Scene) -> None:
    """x, y, z, remission 0..1, and labels with instance numbers (from 1) in their upper half."""
    remission = cloud.points[:, 3:4] / np.float32(255)
    points = np.concatenate((cloud.points[:, :3], remission), 1)
    (folder / "velodyne" / f"{file}.bin").write_bytes(points.astype("<f4").tobytes())
    moving = (cloud.thing >= 0) & scene.moving[cloud.thing]
    boxed = (cloud.thing >= 0) & scene.boxed[cloud.thing]
    labels = np.where(moving, _table(LABELS | MOVING_LABELS)[cloud.raw], _table(LABELS)[cloud.raw])
    labels |= np.where(boxed, cloud.thing + 1, 0).astype(np.uint32) << 16
    (folder / "labels" / f"{file}.label").write_bytes(labels.astype("<u4").tobytes())


def _table(labels: dict[Raw, int]) -> NDArray[np.uint32]:
    table = np.zeros(32, np.uint32)
    table[list(labels)] = list(labels.values())
    return table


def save(config: WorldConfig, records: Sequence[DriveRecord]) -> None:
    """Calibration, poses and times of every sequence, and the words of the classes."""
    for sequence in sequences(config):
        drives = [record for record in records if record.sequence == sequence]
        folder, rig = config.out / "sequences" / sequence, build_rig(config, sequence)
        (folder / "calib.txt").write_text(_calibration(rig))
        poses = np.concatenate([drive.poses for drive in drives])
        since_first = inverse(poses[0]) @ poses
        (folder / "poses.txt").write_text(matrix_text(since_first[:, :3].reshape(-1, 12)))
        times = np.concatenate([drive.times for drive in drives])
        (folder / "times.txt").write_text(matrix_text(times[:, None]))
    (config.out / "prompts.json").write_text(json.dumps(WORDS, indent=2) + "\n")


def _calibration(rig: Rig) -> str:
    """P0..P3, each K [1 | t] from camera 0, and Tr; cameras 0, 1 and 3 take no photographs."""
    intrinsic = rig.color.intrinsic
    offsets = (np.zeros(3), np.array([-0.54, 0.0, 0.0]), BASELINE, np.array([-0.47, 0.0, 0.003]))
    rows = {f"P{k}": intrinsic @ np.c_[np.eye(3), offset] for k, offset in enumerate(offsets)}
    rows["Tr"] = rig.camera_from_lidar[:3]
    return "".join(f"{name}: {matrix_text(matrix.reshape(1, 12))}" for name, matrix in rows.items())


def _matrix(pose: Pose) -> Matrix:
    """[4, 4]"""
    return compose(pose.rotation, pose.translation)
