"""Settings and presets of `datasets.shard`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from datasets.shard.sources import OWN, SOURCES
from scenelift.config.build import nearest
from scenelift.config.constraints import Exists, FolderName, NonNegativeInt, PositiveInt, Settings
from scenelift.config.outside import require_there
from scenelift.errors import ConfigError
from scenelift.samples.config import ReadOptions


@dataclass(frozen=True)
class ShardConfig(Settings):
    """Reads a data set frame by frame, projects its points into its images, and writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    dataset: str = "nuscenes"
    """Which data set: nuscenes, semantickitti, scannet; the preset's name. own: that of `source`."""
    source: str | None = None
    """Class that reads a data set of your own, FILE.py:CLASS, MODULE:CLASS, or the name that an installed package
    gives it (an entry point of the group scenelift.sources); docs/your_own_data.md."""
    root: Annotated[Path, Exists()] | None = None
    """Folder of the data set, as it is unpacked."""
    version: Annotated[str, FolderName()] = "v1.0-trainval"
    """Its release; of nuScenes, the name of the folder with the tables; of your own data, any word."""
    split: Annotated[str, FolderName()] | None = None
    """Split to take; none: every scene that is there."""
    out: str | None = None
    """Folder or URI to write to; none: data/shards/DATASET/VERSION/SPLIT."""
    image_size: tuple[PositiveInt, PositiveInt] = ReadOptions.image_size
    """Height and width the images are stored at, pixels; the presets keep about the photos' aspect, in whole
    patches of 16."""
    lidar_sweeps: NonNegativeInt = ReadOptions.lidar_sweeps
    """Earlier sweeps to add to every keyframe; ScanNet has none."""
    superpixels: NonNegativeInt = ReadOptions.superpixels
    """Approximate number of superpixels (SLIC) of each stored image; 0: none. SLidR needs them: 150."""
    per_shard: PositiveInt = 32
    """Frames of one file; one of nuScenes with six images takes about 0.8 MB."""
    max_bad: NonNegativeInt = 0
    """Frames that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in (*SOURCES, OWN):
            raise ConfigError(f"unknown data set {self.dataset}; {nearest(self.dataset, SOURCES)}")
        if self.source is not None and self.dataset != OWN:
            raise ConfigError(f"--source reads your own data, and not {self.dataset}; leave one of them out")

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> ShardConfig:
        """With a source and without a preset: those for own data."""
        return PRESETS[OWN] if "source" in values and chosen is None else self

    def check_here(self, prefix: str = "") -> None:
        if self.dataset == OWN and self.source is None:
            raise ConfigError(
                "--source is missing: the class that reads your data; write --source FILE.py:CLASS"
            )
        if self.root is None:
            name = self.source or self.dataset
            raise ConfigError(f"--root is missing: the folder where {name} is unpacked")
        if self.source is not None:
            require_there(self.source, "scenelift.sources", "source")
        super().check_here(prefix)

    @property
    def folder(self) -> str:
        """Where the shards go."""
        name = self.source.rpartition(":")[2].lower() if self.source else self.dataset
        return self.out or f"data/shards/{name}/{self.version}/{self.split or 'all'}"


PRESETS = {
    "nuscenes": ShardConfig(dataset="nuscenes"),
    "semantickitti": ShardConfig(dataset="semantickitti", version="1.0", image_size=(160, 528)),
    "scannet": ShardConfig(dataset="scannet", version="v2", image_size=(480, 640), per_shard=8),
    OWN: ShardConfig(dataset=OWN, version="1"),
}
