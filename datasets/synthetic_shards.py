"""The synthetic world as shards, made at first use: what commands train and test on when no data is named."""

from __future__ import annotations

from pathlib import Path

from datasets.nuscenes import NuScenes
from datasets.synthetic.config import PRESETS
from datasets.synthetic.generate import generate
from scenelift import cluster
from scenelift.manifest import NAME
from scenelift.sharding import write_shards
from scenelift.sources import ReadOptions


def synthetic_shards(split: str) -> str:
    """Folder of the shards of a split of the demo world; what is missing is made under `data/`."""
    world = PRESETS["demo"]
    out = Path(f"{world.out}-shards") / split
    if not (out / NAME).exists():
        generate(world)
        options = ReadOptions(image_size=world.image_size)
        source = NuScenes(world.out, world.version)
        command = (
            f"python -m datasets.shard nuscenes --root {world.out} --version {world.version} --split {split}"
        )
        with cluster.connect():
            write_shards(source, split, str(out), options, frames_per_shard=8, command=command)
    return str(out)
