"""The tables of a world: the 13 of nuScenes v1.0, lidarseg, and our own splits and region captions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets.synthetic.capture import Region
from datasets.synthetic.classes import CATEGORIES
from datasets.synthetic.config import WorldConfig

Row = dict[str, Any]
LIDAR = "LIDAR_TOP"
TABLES = (
    *("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "lidarseg", "log", "map"),
    *("sample", "sample_annotation", "sample_data", "scene", "sensor", "visibility"),
)
"""The 13 tables of nuScenes v1.0 and lidarseg."""
VISIBILITIES = (("1", "v0-40", 0.4), ("2", "v40-60", 0.6), ("3", "v60-80", 0.8), ("4", "v80-100", 1.0))
"""Token, level, and the largest visible fraction of the level."""
ATTRIBUTES = ("vehicle.moving", "vehicle.parked", "pedestrian.moving", "pedestrian.standing")


@dataclass(frozen=True)
class SceneRecord:
    """Result of writing one scene, for the tables."""

    name: str
    tables: dict[str, list[Row]]
    regions: dict[str, list[Region]]
    """Captions by image file; empty unless the scene is one of the teacher's."""
    points: NDArray[np.int64]
    """[32] keyframe points by raw class."""


class Tokens:
    """Tokens of rows: 32 hexadecimal digits that depend on the seed, the version and the names alone."""

    def __init__(self, config: WorldConfig, *names: str):
        self._prefix = (str(config.seed), config.version, *names)

    def __call__(self, *names: str) -> str:
        return hashlib.md5("/".join((*self._prefix, *names)).encode()).hexdigest()


def quaternion(rotation: NDArray[np.float64]) -> list[float]:
    """[w, x, y, z], as in nuScenes."""
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return [w, x, y, z]


def folders(config: WorldConfig) -> list[Path]:
    """Every folder of sensor files, relative to the root."""
    keyframes = [Path("samples") / channel for channel in (LIDAR, *config.cameras)]
    return [*keyframes, Path("sweeps") / LIDAR, Path("lidarseg") / config.version, Path("maps")]


def save(config: WorldConfig, records: Sequence[SceneRecord]) -> None:
    """Write the tables, `splits.json` and, for the teacher's scenes, `regions.json`."""
    tables: dict[str, list[Row]] = {table: [] for table in TABLES} | _fixed_tables(config)
    for record in records:
        for table, rows in record.tables.items():
            tables[table] += rows
    files: dict[str, Any] = {**tables, "splits": config.splits()}
    if config.teacher_scenes:
        files["regions"] = {file: regions for record in records for file, regions in record.regions.items()}
    final = config.out / config.version
    unfinished = config.out / f".{config.version}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for file, content in files.items():
        indent = None if file == "regions" else 0
        (unfinished / f"{file}.json").write_text(json.dumps(content, indent=indent))
    Image.new("L", (16, 16)).save(config.out / "maps" / "none.png")
    os.replace(unfinished, final)


def _fixed_tables(config: WorldConfig) -> dict[str, list[Row]]:
    """Tables that do not depend on the scenes."""
    tokens = Tokens(config)
    logs = [
        {
            "token": tokens("log", split),
            "logfile": f"synthetic-{split}",
            "vehicle": "synthetic",
            "date_captured": "2020-09-13",
            "location": "synthetic",
        }
        for split in config.splits()
    ]
    channels = [(LIDAR, "lidar"), *((camera, "camera") for camera in config.cameras)]
    return {
        "attribute": [{"token": tokens("attribute", a), "name": a, "description": ""} for a in ATTRIBUTES],
        "visibility": [{"token": t, "level": level, "description": ""} for t, level, _ in VISIBILITIES],
        "category": [
            {"token": tokens("category", name), "name": name, "description": text, "index": int(raw)}
            for raw, (name, _, text) in CATEGORIES.items()
        ],
        "sensor": [
            {"token": tokens("sensor", channel), "channel": channel, "modality": modality}
            for channel, modality in channels
        ],
        "log": logs,
        "map": [
            {
                "token": tokens("map"),
                "log_tokens": [log["token"] for log in logs],
                "category": "semantic_prior",
                "filename": "maps/none.png",
            }
        ],
    }


def chain(rows: list[Row]) -> None:
    """Set `prev` and `next` of rows in order of time."""
    tokens = ["", *(row["token"] for row in rows), ""]
    for row, before, after in zip(rows, tokens, tokens[2:], strict=False):
        row["prev"], row["next"] = before, after
