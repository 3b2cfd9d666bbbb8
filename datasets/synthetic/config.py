"""The configuration of a synthetic world, and named worlds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from scenelift.config.build import nearest
from scenelift.config.constraints import Seed, Settings
from scenelift.errors import ConfigError

KEYFRAME_INTERVAL = 0.5
"""Seconds between keyframes, as in nuScenes."""
SWEEP_INTERVAL = 0.1
"""Seconds between a keyframe and the sweeps before it."""

CAMERA_YAWS = {
    "CAM_FRONT": 0.0,
    "CAM_FRONT_RIGHT": -55.0,
    "CAM_BACK_RIGHT": -110.0,
    "CAM_BACK": 180.0,
    "CAM_BACK_LEFT": 110.0,
    "CAM_FRONT_LEFT": 55.0,
}
"""Where each camera looks: degrees to the left of straight ahead."""

SPLITS = {"train": range(1, 2001), "val": range(2001, 4001), "teacher": range(4001, 10_000)}
"""Numbers of the scenes of each split; a scene's content depends on the seed and its name alone."""

Layout = Literal["nuscenes", "semantickitti", "scannet"]
SCENE_NAMES: dict[Layout, str] = {
    "nuscenes": "scene-{:04d}",
    "semantickitti": "drive-{:04d}",
    "scannet": "scene{:04d}_00",
}
"""Scene name by layout; as the name determines the content, no two layouts show the same street."""


Side = Annotated[int, Ge(16), Le(2048)]
"""Of an image, pixels."""


@dataclass(frozen=True)
class Sensors:
    """Resolutions of a rig."""

    image_size: tuple[int, int]
    """(height, width) of the camera images, pixels."""
    beams: int
    azimuths: int


SENSORS: dict[Layout, Sensors] = {
    "nuscenes": Sensors((112, 192), 32, 720),
    "semantickitti": Sensors((96, 320), 64, 480),
    "scannet": Sensors((144, 192), 32, 720),
}
"""Default sensors of each layout."""


@dataclass(frozen=True)
class WorldConfig(Settings):
    """A synthetic driving world, written as a nuScenes v1.0 tree with lidarseg labels, as SemanticKITTI
    sequences, or as ScanNet rooms (streets to scale 1:10 in which time stands still)."""

    out: Path = Path("data/synthetic")
    """Folder to write; must be empty, absent, or an earlier run of the same configuration."""
    layout: Layout = "nuscenes"
    """Data set in whose files the world is written."""
    version: str = "v1.1-synthetic"
    """nuscenes: name of the folder of tables inside `out`. Before v1.1 pixels were half a pixel off the points."""
    seed: Seed = 0
    """The same seed gives the same bytes, whatever the number of scenes or workers."""
    train_scenes: Annotated[int, Ge(0), Le(2000)] = 40
    """Scenes for training students, numbered from 1; semantickitti: dealt out to its ten training sequences."""
    val_scenes: Annotated[int, Ge(0), Le(2000)] = 10
    """Scenes for testing, numbered from 2001; semantickitti: one after the other in sequence 08."""
    teacher_scenes: Annotated[int, Ge(0), Le(5999)] = 0
    """nuscenes: scenes with region captions for training the tiny CLIP teacher, numbered from 4001."""
    frames_per_scene: Annotated[int, Ge(1), Le(400)] = 4
    """Keyframes of each scene; nuscenes: half a second apart; semantickitti: 1 + `sweeps` scans apart, the
    last of each 1 + `sweeps` scans; scannet: places in a room from which it is scanned and photographed."""
    lidar_sweeps: Annotated[int, Ge(0), Le(4)] = 2
    """nuscenes, semantickitti: LiDAR sweeps written before each keyframe, 0.1 s apart (at most 4)."""
    image_size: tuple[Side, Side] | None = None
    """(height, width) of the camera images, pixels; none: 112 192, semantickitti 96 320, scannet 144 192."""
    beams: Annotated[int, Ge(2), Le(256)] | None = None
    """Rings of the LiDAR; none: 32, semantickitti 64."""
    azimuths: Annotated[int, Ge(8), Le(8192)] | None = None
    """Directions of each ring in one turn; none: 720, semantickitti 480."""
    cameras: tuple[str, ...] = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_FRONT_LEFT")
    """nuscenes: cameras of the rig, each 75 degrees wide; the default four leave about a third of the points
    unseen. scannet: the ways the camera is turned at each place. semantickitti: its one looks ahead."""
    workers: Annotated[int, Ge(0), Le(1024)] = 0
    """Processes that render; 0 means one per core."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.train_scenes + self.val_scenes + self.teacher_scenes:
            raise ConfigError("a world needs a scene: set train_scenes, val_scenes or teacher_scenes")
        if self.teacher_scenes and self.layout != "nuscenes":
            raise ConfigError("teacher_scenes: only --layout nuscenes has region captions")
        if self.layout == "scannet" and any(side % 4 for side in self.sensors.image_size):
            raise ConfigError(f"image_size: scannet's must be multiples of 4, not {self.sensors.image_size}")
        if not re.fullmatch(r"v[\w.-]+", self.version):
            raise ConfigError(f"version is a folder's name such as v1.1-synthetic, not {self.version!r}")
        for camera in self.cameras:
            if camera not in CAMERA_YAWS:
                raise ConfigError(f"cameras: unknown {camera}; {nearest(camera, CAMERA_YAWS)}")
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError("cameras: name at least one, each once")

    def splits(self) -> dict[str, list[str]]:
        """Scene names of each split that has scenes."""
        counts = {"train": self.train_scenes, "val": self.val_scenes, "teacher": self.teacher_scenes}
        return {
            split: [SCENE_NAMES[self.layout].format(number) for number in SPLITS[split][:count]]
            for split, count in counts.items()
            if count
        }

    @property
    def sensors(self) -> Sensors:
        """The layout's sensors, with this configuration's overrides."""
        own = SENSORS[self.layout]
        return Sensors(
            own.image_size if self.image_size is None else self.image_size,
            own.beams if self.beams is None else self.beams,
            own.azimuths if self.azimuths is None else self.azimuths,
        )

    @property
    def identity(self) -> WorldConfig:
        """The part that determines the bytes: neither the folder nor the number of processes."""
        return replace(self, out=WorldConfig.out, workers=0, **vars(self.sensors))


PRESETS = {
    "demo": WorldConfig(),
    "teacher": WorldConfig(
        out=Path("data/synthetic-teacher"), train_scenes=0, val_scenes=0, teacher_scenes=100, lidar_sweeps=0
    ),
    "tiny": WorldConfig(
        out=Path("data/synthetic-tiny"),
        train_scenes=2,
        val_scenes=1,
        frames_per_scene=2,
        lidar_sweeps=1,
        image_size=(32, 48),
        beams=16,
        azimuths=90,
        cameras=("CAM_FRONT", "CAM_BACK"),
    ),
}
"""Worlds by name; the first is the default."""
