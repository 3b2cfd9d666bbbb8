"""Settings of a run: what it reads and where it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from scenelift.config.constraints import Exists, Settings
from scenelift.evaluation.config import Absent

ShardFolder = Annotated[
    str,
    Exists(
        "make shards with: python -m datasets.shard nuscenes --root ROOT --out DIR, and give their folder"
    ),
]
"""A folder or URI."""
StudentFolder = Annotated[str, Exists("give a folder runs/NAME/student, or runs/NAME/checkpoints/step-N")]
"""A folder or URI."""


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which shards are trained and scored on."""

    train: ShardFolder | None = None
    """Folder of training shards; none: the synthetic world, made at first use."""
    test: ShardFolder | None = None
    """Folder of labeled shards that are scored on; none: the synthetic world's, or none with own training
    shards."""
    absent_classes: Absent = "leave out"
    """Classes neither true nor predicted: left out of the mean, or counted as one as the paper's code did."""


@dataclass(frozen=True)
class RunConfig(Settings):
    """Where a run is kept and what it is called."""

    name: str | None = None
    """Name of the run and of its folder; none: the command and the time, in MLflow also what the run changes."""
    storage: str = "runs"
    """Folder of all runs, or a URI such as s3://bucket/runs."""
    resume: bool = False
    """Continue the run of this name from its newest checkpoint, and its MLflow run."""
