"""The synthetic world as shards, made on first use: the default data of commands."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets.common.sources import open_source
from datasets.synthetic.config import PRESETS, Layout, WorldConfig
from datasets.synthetic.generate import generate
from scenelift.cluster import connect as cluster
from scenelift.errors import ShardError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, Frame, FrameSet, Source
from scenelift.samples.kind import MANIFEST, Manifest
from scenelift.shards.write import write_shards

SUPERPIXELS = 40
"""SLIC segments per image; nuScenes' photos, a hundred times larger, have 150."""


def synthetic_shards(split: str, layout: Layout = "nuscenes") -> str:
    """Folder of the shards of a split of the demo world; whatever is missing is made under `data/`.

    They have sweeps (except ScanNet's, which has none) and superpixels. In SemanticKITTI every scan could be a
    frame; these shards have only the world's keyframes, so that no frame's sweeps are from another drive. Raises
    ShardError if the folder has other shards.
    """
    world = demo_world(layout)
    out = Path(f"{world.out}-shards") / split
    options = ReadOptions(
        0 if layout == "scannet" else world.lidar_sweeps, world.sensors.image_size, SUPERPIXELS
    )
    version = world.version if layout == "nuscenes" else "synthetic"
    if (out / MANIFEST).exists():
        _require_same(out / MANIFEST, version, options)
        return str(out)
    generate(world)
    source = open_source(layout, world.out, version)
    if layout == "semantickitti":
        source = Keyframes(source, 1 + world.lidar_sweeps)
    code = f'from datasets.synthetic.shards import synthetic_shards as make; make("{split}", "{layout}")'
    with cluster.connect():
        write_shards(
            source, split, str(out), options, per_shard=8, command=shlex.join(["python", "-c", code])
        )
    return str(out)


def demo_world(layout: Layout) -> WorldConfig:
    """The demo world in a layout, in its own folder."""
    world = PRESETS["demo"]
    if layout == "nuscenes":
        return world
    return replace(world, layout=layout, out=Path(f"{world.out}-{layout}"))


class Keyframes:
    """A source of consecutive scans, reduced to the last of each `every`: the others are its sweeps."""

    def __init__(self, source: Source, every: int) -> None:
        self.source, self.every = source, every
        self.name, self.version, self.vocabulary = source.name, source.version, source.vocabulary

    def list_samples(self, split: str | None) -> list[Any]:
        """The source's scans that are keyframes of the world."""
        return self.source.list_samples(split)[self.every - 1 :: self.every]

    def read(self, keyframe: Any, options: ReadOptions) -> Frame:
        """What the source reads."""
        return self.source.read(keyframe, options)


def _require_same(path: Path, version: str, options: ReadOptions) -> None:
    """ShardError unless the existing shards were made of this version of the world with these options."""
    manifest = Manifest.from_json(path.read_text(), str(path), FRAME)
    if manifest.dataset_version != version:
        raise ShardError(
            f"{path.parent} holds shards of {manifest.dataset_version}, not {version}; delete them and the world "
            "that they were made of"
        )
    old = FrameSet.of(manifest)
    if ReadOptions(old.lidar_sweeps, old.image_size, old.superpixels) != options:
        raise ShardError(
            f"{path.parent} holds shards with {old.lidar_sweeps} sweeps and {old.superpixels} superpixels of "
            f"{old.image_size} images, not {options.lidar_sweeps}, {options.superpixels}, {options.image_size}; "
            "delete it or name your own shards"
        )
