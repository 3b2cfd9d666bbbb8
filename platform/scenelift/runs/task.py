"""The interface of a trainable to the platform; everything else of a run is the same for all methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import numpy as np

from scenelift.errors import DataError
from scenelift.evaluation.scoring import Measure, Validation, hold_out
from scenelift.io.storage import Location
from scenelift.samples.kind import S
from scenelift.shards.read import Samples
from scenelift.train.config import SMALLER_SAMPLES

if TYPE_CHECKING:
    from scenelift.train.launch import Resources
    from scenelift.train.method import Batch, Method, Trained


@dataclass(frozen=True)
class Report:
    """Scores of the test samples."""

    metrics: Mapping[str, float]
    """Figures by name; `result.json` and MLflow have them."""
    text: str
    """The table that a run prints."""
    remarks: tuple[str, ...] = ()
    """Notes on the figures, a line each."""
    tables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Name -> rows that MLflow keeps."""


class Task(ABC, Generic[S]):
    """One training of one method: its samples, what it trains, how that is scored. `__init__` checks the
    shards."""

    command: ClassVar[str]
    """Name of the trainable, such as `distill`."""
    objectives: ClassVar[Mapping[str, str]]
    """Validation metrics that a sweep may maximize -> their meaning; the first is the default."""
    columns: ClassVar[Sequence[str]] = ()
    """Metrics that a dashboard shows, the most important first."""

    smaller_samples: ClassVar[str] = SMALLER_SAMPLES
    """Advice to a user whose memory is full and whose micro-batches are single samples."""

    config: Any
    """The config tree, a `TrainingConfig`."""
    presets: Mapping[str, Any]
    """Presets of the command; a run is named by its differences from the nearest one."""
    train: Samples[S]
    test: Samples[S] | None
    """Samples to score the trained student on; None: none."""
    used: Sequence[int] | None = None
    """Indices of the training samples to use; None: all."""

    @abstractmethod
    def __init__(self, config: Any) -> None: ...

    @abstractmethod
    def student(self) -> Trained:
        """The student as it is before the first step. torch has been seeded with `loop.seed`."""

    @abstractmethod
    def collate(self, student: Any) -> Callable[[Sequence[Any], int], Batch]:
        """(samples, epoch) -> a batch; it travels to the workers."""

    @classmethod
    @abstractmethod
    def method(cls, config: Any, initial: Path) -> Method:
        """The method around the student that a folder holds; called in every training worker."""

    @abstractmethod
    def load(self, folder: Location) -> Any:
        """The student that a checkpoint holds."""

    @abstractmethod
    def measure(self, held_out: Sequence[int]) -> Measure[S]:
        """The metrics at the end of epochs on these training samples, which are held out."""

    def tags(self) -> dict[str, str]:
        """Tags of the MLflow run that tell it from others of its trainable, beside dataset and seed."""
        return {}

    def describe(self, student: Any) -> dict[str, Any]:
        """Parameters of the student's logged model."""
        return {}

    def score_before(self, initial: Location, resources: Resources) -> Any:
        """Scores of the test samples before the training, for `score`; only called if there are some."""
        return None

    def score(
        self, before: Any, initial: Location, trained: Location, resources: Resources, pictures: Path
    ) -> Report:
        """Score the trained student on the test samples, compare it, and draw some of them. before: from
        `score_before`; initial, trained: folders of the student before and after training. Only called if there
        are test samples."""
        raise AssertionError(f"{type(self).__name__} has test samples and no score")

    def following(self, student: Location) -> str | None:
        """What to do with the trained student, printed at the end of a run; None: nothing in particular."""
        return None

    def validation(self) -> tuple[Sequence[int] | None, Validation[S] | None]:
        """Samples to train on (None: all) and to score on (None: none). Raises ConfigError or DataError if
        impossible."""
        kept, chosen = hold_out(self.config.validation, self.train, self.used)
        if not chosen:
            return kept, None
        measure = self.measure(chosen)
        if not measure.names:
            raise DataError(
                f"{self.train.path} holds nothing that a validation could measure; write "
                "--validation.holdout_every 0, or use other shards"
            )
        return kept, Validation(self.train, chosen, self.config.validation.every, measure)


def trial_config(task: type[Task[Any]], config: Any, holdout_every: int, objective: str) -> Any:
    """The config of a run that others are compared with to choose one: every n-th training scene is held out,
    and the test samples are left alone. DataError if the training samples do not allow for the objective."""
    validation = replace(config.validation, holdout_every=holdout_every)
    trial = task(replace(config, validation=validation))
    _, validated = trial.validation()
    assert validated is not None
    names = validated.measure.names
    if objective not in names:
        raise DataError(
            f"{objective} cannot be measured on {trial.train.path}, but {', '.join(names)} can; choose with "
            "--objective, or use other shards"
        )
    data = replace(config.data, train=trial.train.path, test=None)
    return replace(config, data=data, validation=validation)


def spread(count: int, wanted: int) -> Sequence[int]:
    """`wanted` indices spread evenly over 0..count-1."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(wanted, count))})
