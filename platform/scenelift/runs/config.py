"""Settings of a run: what it reads, where it is kept, and what every training has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from scenelift.config.constraints import Exists, FolderName, Settings
from scenelift.evaluation.config import NO_VALIDATION, ValidationConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig

_MAKE = "make shards with: python -m datasets.shard (or shard_rooms, shard_captions), and give their folder"
ShardFolder = Annotated[str, Exists(_MAKE)]
"""A folder or URI."""
StudentFolder = Annotated[str, Exists("give a folder runs/NAME/student, or runs/NAME/checkpoints/step-N")]
"""A folder or URI."""


RunName = Annotated[str, FolderName(("mlflow.db", "artifacts"))]
"""Name of a folder beside MLflow's records."""


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which shards are trained and scored on."""

    train: ShardFolder | None = None
    """Folder of training shards; none: synthetic ones, made at first use."""
    test: ShardFolder | None = None
    """Folder of shards that are scored on; none: the synthetic ones, or nothing with own training shards."""


@dataclass(frozen=True)
class RunConfig(Settings):
    """Where a run is kept and what it is called."""

    name: RunName | None = None
    """Name of the run and of its folder; none: the command and the time, in MLflow also what the run changes."""
    storage: str = "runs"
    """Folder of all runs, or a URI such as s3://bucket/runs."""
    resume: bool = False
    """Continue the run of this name, with its own settings, from its newest checkpoint, and its MLflow run."""


@dataclass(frozen=True)
class Resumable(Settings):
    """Settings of a command that keeps a run and can go on with it; a subclass has the group `run`."""

    if TYPE_CHECKING:  # its place among the fields, and so in --help, is the subclass's
        run: RunConfig

    @property
    def goes_on(self) -> bool:
        return self.run.resume

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """The run's own settings, if it is to be resumed."""
        from scenelift.runs.resume import own_settings  # reads files

        return own_settings(self, values, chosen)


@dataclass(frozen=True)
class TrainingConfig(Resumable):
    """Settings that all trainings have; a method adds its own, and its defaults."""

    data: DataConfig = DataConfig()
    """What is trained and scored on."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and schedule."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""
    validation: ValidationConfig = NO_VALIDATION
    """Training scenes that are held out and scored on as the training goes."""
    scale: ScaleConfig = ScaleConfig()
    """Workers and what each is given."""
    tracking: TrackingConfig = TrackingConfig()
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""
