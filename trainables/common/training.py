"""What every training begins with: which shards it reads, and when the platform takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scenelift.errors import ConfigError
from scenelift.runs.config import DataConfig

if TYPE_CHECKING:
    from scenelift.runs.task import Task


def shard_folders(
    data: DataConfig, synthetic: Callable[[str], str], test: str = "val"
) -> tuple[str, str | None]:
    """Folders of the training and the test shards; None: nothing is scored.

    synthetic: makes the synthetic shards of a split and returns their folder; test: its split to score on.
    Raises ConfigError for test shards alone.
    """
    if data.train is not None:
        return data.train, data.test
    if data.test is not None:
        raise ConfigError("data.test is given without data.train; name both, or neither for synthetic data")
    return synthetic("train"), synthetic(test)


def start(task: type[Task[Any]], config: Any) -> None:
    """Make the task, which checks the data, and only then import what a run needs."""
    accepted = task(config)
    from scenelift.runs.run import run

    run(accepted)
