"""Settings of a run: what it reads and where it is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    """Which shards are trained and scored on."""

    train: str | None = None
    """Folder of training shards; none: synthetic ones, made at first use."""
    test: str | None = None
    """Folder of shards that are scored on; none: the synthetic ones, or nothing with own training shards."""


@dataclass(frozen=True)
class RunConfig:
    """Where a run is kept and what it is called."""

    name: str | None = None
    """Name of the run and of its folder; none: the command and the time, in MLflow also what the run changes."""
    storage: str = "runs"
    """Folder of all runs, or a URI such as s3://bucket/runs."""
    resume: bool = False
    """Continue the run of this name from its newest checkpoint, and its MLflow run."""
