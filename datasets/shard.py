"""A data set -> a folder of shards: `python -m datasets.shard nuscenes --root ROOT --out DIR`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.nuscenes.source import NuScenes
from datasets.scannet.source import ScanNet
from datasets.semantickitti.source import SemanticKITTI
from scenelift.config.build import command, nearest
from scenelift.errors import ConfigError
from scenelift.io.storage import megabytes
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame_kind import FrameSet
from scenelift.samples.manifest import Manifest
from scenelift.samples.source import Source

SOURCES: dict[str, Callable[[Path, str], Source]] = {
    "nuscenes": NuScenes,
    "semantickitti": SemanticKITTI,
    "scannet": ScanNet,
}
"""Data set -> what opens its root and release."""


@dataclass(frozen=True)
class ShardConfig:
    """Reads a data set frame by frame, projects its points into its images, and writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    dataset: str = "nuscenes"
    """Which data set: nuscenes, semantickitti, scannet; the preset's name."""
    root: Path | None = None
    """Folder of the data set, as it is unpacked."""
    version: str = "v1.0-trainval"
    """Its release; of nuScenes, the name of the folder with the tables."""
    split: str | None = None
    """Split to take; none: every scene that is there."""
    out: str | None = None
    """Folder or URI to write to; none: data/shards/DATASET/VERSION/SPLIT."""
    image_size: tuple[int, int] = ReadOptions.image_size
    """Height and width the images are stored at, pixels; the presets keep about the photos' aspect, in whole
    patches of 16."""
    lidar_sweeps: int = ReadOptions.lidar_sweeps
    """Earlier sweeps to add to every keyframe; ScanNet has none."""
    superpixels: int = ReadOptions.superpixels
    """Superpixels (SLIC) to cut each stored image into, about so many; 0: none. SLidR needs them: 150."""
    per_shard: int = 32
    """Frames of one file; one of nuScenes with six images takes about 0.8 MB."""
    max_bad: int = 0
    """Frames that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    def __post_init__(self) -> None:
        if self.dataset not in SOURCES:
            raise ConfigError(f"unknown data set {self.dataset}; {nearest(self.dataset, SOURCES)}")
        least = {"lidar_sweeps": 0, "superpixels": 0, "per_shard": 1, "max_bad": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise ConfigError(f"{name} is at least {minimum}, not {getattr(self, name)}")
        if min(self.image_size) < 1:
            raise ConfigError(f"image_size is a height and a width in pixels, not {self.image_size}")

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return self.out or f"data/shards/{self.dataset}/{self.version}/{self.split or 'all'}"


PRESETS = {
    "nuscenes": ShardConfig(dataset="nuscenes"),
    "semantickitti": ShardConfig(dataset="semantickitti", version="1.0", image_size=(160, 528)),
    "scannet": ShardConfig(dataset="scannet", version="v2", image_size=(240, 320), per_shard=8),
}


def run(config: ShardConfig) -> Manifest:
    """Write the shards and print what they hold."""
    from scenelift.cluster.connect import connect
    from scenelift.shards.write import write_shards

    if config.root is None:
        raise ConfigError(f"--root is missing: the folder where {config.dataset} is unpacked")
    source = SOURCES[config.dataset](config.root.expanduser().absolute(), config.version)
    start = time.monotonic()
    with connect():
        manifest = write_shards(
            source,
            config.split,
            config.folder,
            ReadOptions(config.lidar_sweeps, config.image_size, config.superpixels),
            per_shard=config.per_shard,
            max_bad=config.max_bad,
            command=shlex.join(["python", "-m", "datasets.shard", *sys.argv[1:]]),
        )
    print(report(manifest, time.monotonic() - start))
    print(f"next: python -m trainables.distill --data.train {shlex.quote(config.folder)}")
    return manifest


def report(manifest: Manifest, seconds: float) -> str:
    """A short table of what a folder of shards holds."""
    about = FrameSet.of(manifest)
    rows = {
        "data set": f"{manifest.dataset} {manifest.dataset_version} {manifest.split}",
        "frames": f"{manifest.samples:,}",
        "bad frames": f"{len(manifest.bad):,}",
        "points": f"{about.points:,}",
        "pairs": _counts(about.pairs) or "none, as there are no images",
        "labels": "none" if about.labels is None else _counts(about.labels),
        "size": f"{megabytes(manifest.bytes)} in {len(manifest.shards)} shards",
        "time": f"{seconds:.1f} s",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in rows.items())


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def main() -> None:
    """The command."""
    command(run, ShardConfig, PRESETS, "python -m datasets.shard")


if __name__ == "__main__":
    from datasets.shard import main

    main()
