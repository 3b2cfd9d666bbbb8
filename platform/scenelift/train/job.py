"""One training, as it travels to its workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenelift.errors import ConfigError, TrainingError
from scenelift.io import folders
from scenelift.io.storage import Location
from scenelift.shards.read import Samples
from scenelift.train.checkpoints import Checkpoint, Checkpoints
from scenelift.train.config import SMALLER_SAMPLES, LoopConfig, OptimizerConfig
from scenelift.train.method import Batch, Method
from scenelift.train.plan import Plan
from scenelift.train.state import Callback, TrainState


@dataclass(frozen=True)
class Job:
    """A training: its samples, settings and checkpoint folder."""

    samples: Samples[Any]
    folder: Location
    """The run's checkpoint folder, the same for all workers: an absolute path or a URI."""
    loop: LoopConfig
    optimizer: OptimizerConfig
    collate: Callable[[Sequence[Any], int], Batch]
    """(samples, epoch) -> a batch, a function of these alone."""
    build: Callable[[], Method]
    """Builds the method inside a worker, with the same weights in each."""
    retries: int = 3
    frames: Sequence[int] | None = None
    """Indices of the samples to train on; None: all."""
    validation: Callable[..., dict[str, float]] | None = None
    """(student, epochs done, epochs in all, rank=, workers=) -> metrics, the same on all ranks; empty where
    none are due. Called by every rank at the end of epochs."""
    smaller_samples: str = SMALLER_SAMPLES
    """Advice to a user whose memory is full and whose micro-batches are single samples."""
    callbacks: Sequence[Callable[[TrainState], Callback]] = ()
    """Callbacks of the method, besides those of all trainings."""

    def __post_init__(self) -> None:
        if self.loop.watch.needs_validation and self.validation is None:
            raise ConfigError(
                "loop.watch.early_stopping and keep_best go by validation, and no samples are held out for it; "
                "write --validation.holdout_every 5, or leave them off"
            )

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder, self.loop.keep)

    @property
    def final(self) -> Checkpoint | None:
        """The last or best checkpoint, by `loop.watch.final`; None before the first."""
        latest, best = self.checkpoints.latest(), self.checkpoints.best()
        if self.loop.watch.final == "last" or latest is None:
            return latest
        if best is None:
            raise TrainingError(
                "no epoch was validated, so no checkpoint is best; write --validation.every 1"
            )
        return best

    def plan(self, workers: int, most: int = 0) -> Plan:
        """The frames of each step for a number of workers, of `most` at most."""
        return Plan(len(self.samples if self.frames is None else self.frames), self.loop, workers, most)


def build_from(build: Callable[[Path], Method], initial: str) -> Method:
    """The method in a worker, around the student in a folder or at a URI."""
    with folders.fetched(initial) as folder:
        return build(folder)
