"""The command `python -m datasets.synthetic [demo|teacher|tiny] [--layout LAYOUT --out DIR] ...`: write a world."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence

import numpy as np

from datasets.synthetic.classes import CATEGORIES
from datasets.synthetic.config import PRESETS, WorldConfig
from datasets.synthetic.generate import generate
from datasets.synthetic.layouts import Record
from scenelift.errors import ConfigError


def run(config: WorldConfig) -> None:
    """Write the world, then print its contents and the next command."""
    if config.layout != "nuscenes" and config.out in {preset.out for preset in PRESETS.values()}:
        raise ConfigError(
            f"{config.out} is kept for the nuscenes layout; write --out {config.out}-{config.layout}"
        )
    start = time.monotonic()
    records = generate(config)
    if records is None:
        print(f"{config.out} already has this world, complete.")
    else:
        print(summary(config, records, time.monotonic() - start))
    print(f"next: {next_command(config)}")


def summary(config: WorldConfig, records: Sequence[Record], seconds: float) -> str:
    """A line of sizes, and a line with each class's share of all keyframe points."""
    splits = ", ".join(f"{len(names)} {split}" for split, names in config.splits().items())
    size = sum(file.stat().st_size for file in config.out.rglob("*") if file.is_file())
    frames = len(records) * config.frames_per_scene
    points = np.sum([record.points for record in records], 0)
    shares = points / max(points.sum(), 1)
    mix = ", ".join(f"{name} {shares[raw]:.1%}" for raw, (_, name, _) in CATEGORIES.items() if name)
    return (
        f"{config.out}: {splits} scenes, {frames} keyframes, {points.sum() // frames} points each, "
        f"{size / 1e6:.0f} MB in {seconds:.0f} s.\nPoints: {mix}."
    )


def next_command(config: WorldConfig) -> str:
    """The command that makes shards of this world, or trains a teacher on it."""
    split = next(iter(config.splits()))
    if split == "teacher":
        return (
            f"python -m trainables.teacher --root {shlex.quote(str(config.out))} --version {config.version}"
        )
    version = f"--version {config.version} " if config.layout == "nuscenes" else ""
    height, width = config.sensors.image_size
    root, out = shlex.quote(str(config.out)), shlex.quote(f"{config.out}-shards/{split}")
    swept = config.lidar_sweeps and config.layout != "scannet"
    sweeps = f"--lidar_sweeps {config.lidar_sweeps} " if swept else ""
    return (
        f"python -m datasets.shard {config.layout} --root {root} {version}--split {split} {sweeps}"
        f"--image_size {height} {width} --out {out}"
    )
