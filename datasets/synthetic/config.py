"""What a synthetic world is made of, and the worlds that have a name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from scenelift.config import nearest
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
"""Numbers of the scenes of each split; a scene's content depends on the seed and its number alone."""


@dataclass(frozen=True)
class WorldConfig:
    """A synthetic driving world, written as a nuScenes v1.0 tree with lidarseg labels."""

    out: Path = Path("data/synthetic")
    """Folder to write; must be empty, absent, or an earlier run of the same configuration."""
    version: str = "v1.0-synthetic"
    """Name of the folder of tables inside `out`."""
    seed: int = 0
    """The same seed gives the same bytes, whatever the number of scenes or workers."""
    train_scenes: int = 40
    """Scenes for training students: scene-0001 and on."""
    val_scenes: int = 10
    """Scenes for testing: scene-2001 and on."""
    teacher_scenes: int = 0
    """Scenes with region captions for training the tiny CLIP teacher: scene-4001 and on."""
    frames_per_scene: int = 4
    """Keyframes of each scene, half a second apart."""
    sweeps: int = 2
    """LiDAR sweeps written before each keyframe, 0.1 s apart (at most 4)."""
    image_size: tuple[int, int] = (112, 192)
    """(height, width) of the camera images, pixels."""
    beams: int = 32
    """Rings of the LiDAR."""
    azimuths: int = 720
    """Directions of each ring in one turn."""
    cameras: tuple[str, ...] = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_FRONT_LEFT")
    """Cameras of the rig, each 75 degrees wide; the default four leave about a third of the points unseen."""
    workers: int = 0
    """Processes that render; 0 means one per core."""

    def __post_init__(self) -> None:
        scenes = {"train": self.train_scenes, "val": self.val_scenes, "teacher": self.teacher_scenes}
        for split, count in scenes.items():
            limit = len(SPLITS[split])
            if not 0 <= count <= limit:
                raise ConfigError(f"{split}_scenes must be 0 to {limit}, not {count}")
        if not any(scenes.values()):
            raise ConfigError("a world needs a scene: set train_scenes, val_scenes or teacher_scenes")
        for name, low, high in (
            ("seed", 0, 2**63),
            ("frames_per_scene", 1, 400),
            ("sweeps", 0, 4),
            ("beams", 2, 256),
            ("azimuths", 8, 8192),
            ("workers", 0, 1024),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be {low} to {high}, not {getattr(self, name)}")
        if not all(16 <= side <= 2048 for side in self.image_size):
            raise ConfigError(f"image_size must be two numbers from 16 to 2048, not {self.image_size}")
        if not re.fullmatch(r"v[\w.-]+", self.version):
            raise ConfigError(f"version is a folder's name such as v1.0-synthetic, not {self.version!r}")
        for camera in self.cameras:
            if camera not in CAMERA_YAWS:
                raise ConfigError(f"cameras: unknown {camera}; {nearest(camera, CAMERA_YAWS)}")
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError("cameras: name at least one, each once")

    def splits(self) -> dict[str, list[str]]:
        """Scene names of each split that has scenes."""
        counts = {"train": self.train_scenes, "val": self.val_scenes, "teacher": self.teacher_scenes}
        return {
            split: [f"scene-{number:04d}" for number in SPLITS[split][:count]]
            for split, count in counts.items()
            if count
        }

    @property
    def identity(self) -> WorldConfig:
        """What the bytes depend on: the same world wherever and by however many processes it is made."""
        return replace(self, out=WorldConfig.out, workers=0)


PRESETS = {
    "demo": WorldConfig(),
    "teacher": WorldConfig(
        out=Path("data/synthetic-teacher"), train_scenes=0, val_scenes=0, teacher_scenes=100, sweeps=0
    ),
    "tiny": WorldConfig(
        out=Path("data/synthetic-tiny"),
        train_scenes=2,
        val_scenes=1,
        frames_per_scene=2,
        sweeps=1,
        image_size=(32, 48),
        beams=16,
        azimuths=90,
        cameras=("CAM_FRONT", "CAM_BACK"),
    ),
}
"""Worlds by name; the first is the default."""
