"""Settings of the commands that read a data set of frames, and their presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from datasets.common.sources import OWN, SOURCES, open_source
from scenelift.config.build import nearest
from scenelift.config.constraints import Exists, FolderName, NonNegativeInt, PositiveInt, Settings
from scenelift.config.outside import require_there
from scenelift.errors import ConfigError
from scenelift.samples.config import ReadOptions

if TYPE_CHECKING:
    from scenelift.samples.frame import Source


@dataclass(frozen=True)
class SourceConfig(Settings):
    """Which data set of frames is read, and how."""

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
    image_size: tuple[PositiveInt, PositiveInt] = ReadOptions.image_size
    """Height and width the images are stored at, pixels; the presets keep about the photos' aspect, in whole
    patches of 16."""
    lidar_sweeps: NonNegativeInt = ReadOptions.lidar_sweeps
    """Earlier sweeps to add to every keyframe; ScanNet has none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in (*SOURCES, OWN):
            raise ConfigError(f"unknown data set {self.dataset}; {nearest(self.dataset, SOURCES)}")
        if self.source is not None and self.dataset != OWN:
            raise ConfigError(f"--source reads your own data, and not {self.dataset}; leave one of them out")

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """With a source and without a preset: the settings for own data."""
        return _own(self) if "source" in values and chosen is None else self

    def check_here(self, prefix: str = "") -> None:
        if self.dataset == OWN and self.source is None:
            raise ConfigError(
                "--source is missing: the class that reads your data; write --source FILE.py:CLASS"
            )
        if self.root is None:
            raise ConfigError(
                f"--root is missing: the folder where {self.source or self.dataset} is unpacked"
            )
        if self.source is not None:
            require_there(self.source, "scenelift.sources", "source")
        super().check_here(prefix)

    @property
    def label(self) -> str:
        """A word for folders: the data set's name, or that of the class that reads it."""
        return self.source.rpartition(":")[2].lower() if self.source else self.dataset

    def open(self) -> Source:
        """The data set; DataError for what is not there."""
        assert self.root is not None, "check_here"
        return open_source(self.dataset, self.root.expanduser().absolute(), self.version, self.source)


C = TypeVar("C", bound=SourceConfig)


def presets(config: C) -> dict[str, C]:
    """The settings of every data set, for a command that reads one."""
    return {
        "nuscenes": replace(config, dataset="nuscenes"),
        "semantickitti": replace(config, dataset="semantickitti", version="1.0", image_size=(160, 528)),
        "scannet": replace(config, dataset="scannet", version="v2", image_size=(480, 640)),
        OWN: _own(config),
    }


def _own(config: C) -> C:
    return replace(config, dataset=OWN, version="1")
