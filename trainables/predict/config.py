"""Settings of `trainables.predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from datasets.common.sources import SOURCES
from datasets.shard.config import PRESETS as SHARDED
from scenelift.config.build import nearest
from scenelift.config.constraints import Exists, FolderName
from scenelift.config.outside import require_there
from scenelift.errors import ConfigError
from scenelift.inference.config import PredictConfig

SHIPPED = "trainables/weights/synthetic_student"
"""Trained on the synthetic world; ships with the repository."""


@dataclass(frozen=True)
class Prediction(PredictConfig):
    """Labels for every point of a folder of scans, of a file, of shards or of a data set, in the points' order.

    Without a student and data it shows what it does: the student that ships with the repository labels the
    synthetic world. What is done already is left as it is, so that an interrupted job goes on where it was.
    """

    dataset: str | None = None
    """A data set as it is unpacked, instead of data: nuscenes, semantickitti, scannet."""
    source: str | None = None
    """Or the class that reads a data set of your own, FILE.py:CLASS (docs/your_own_data.md)."""
    root: Annotated[Path, Exists()] | None = None
    """Its folder."""
    version: Annotated[str, FolderName()] | None = None
    """Its release; of nuScenes, the name of the folder with the tables; none: as `datasets.shard` has it."""
    split: Annotated[str, FolderName()] | None = None
    """Its split; none: every scene that is there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset is not None and self.dataset not in SOURCES:
            raise ConfigError(f"unknown data set {self.dataset}; {nearest(self.dataset, SOURCES)}")
        if sum(each is not None for each in (self.data, self.dataset, self.source)) > 1:
            raise ConfigError("give one of --data, or a --dataset or --source with its --root")
        if not self.read and (self.root is not None or self.split is not None):
            raise ConfigError(
                "--root and --split are of a --dataset, such as nuscenes, or a --source; plain files are --data"
            )

    @property
    def read(self) -> str | None:
        """The data set that an adapter reads, or the adapter."""
        return self.source or self.dataset

    @property
    def release(self) -> str:
        """The release that is read."""
        return self.version or SHARDED[self.dataset or "own"].version

    def check_here(self, prefix: str = "") -> None:
        if self.read and self.root is None:
            raise ConfigError(f"--root is missing: the folder where {self.read} is unpacked")
        if self.source is not None:
            require_there(self.source, "scenelift.sources", "source")
        if self.student is None and (self.data is not None or self.read):
            raise ConfigError(
                "--student is missing: a trained student, such as runs/NAME/student; the one that ships, "
                f"{SHIPPED}, knows the synthetic world alone"
            )
        self.check_places(prefix)


PRESETS = {"default": Prediction()}
