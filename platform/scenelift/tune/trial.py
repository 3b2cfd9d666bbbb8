"""One trial of a sweep: an ordinary run of a trainable, in a process of Ray Tune that reports its validation.
The process takes hardly any resources; its training has those of Ray Train, as without a sweep."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenelift.config.build import override
from scenelift.errors import TrainingError
from scenelift.runs.experiment import Observe, ignore
from scenelift.runs.folder import Run
from scenelift.train.checkpoints import Checkpoint, Checkpoints

GRACE = 25
"""Percent of the training after which trials are compared for the first time."""
PATIENCE = 120
"""Seconds in which a training that was stopped may write its checkpoint before the next trial, which has the same
process, begins."""


@dataclass(frozen=True)
class Trials:
    """Settings that all trials of a sweep share; sent to their processes."""

    train: Callable[[Any, Observe], None]
    """Trains one run: (config, function that takes the metrics at the end of an epoch)."""
    config: Any
    """The trainable's config without the values that are searched."""
    folder: Path
    """Parent of the trials' run folders."""
    parent: str
    """The sweep's MLflow run."""
    objective: str
    exchange: bool = False
    """Give checkpoints to Tune, for searches in which trials copy each other's weights."""
    shared: int = 0
    """Number of first epochs that are trained once, by the run `beginning`, for all trials."""

    @property
    def beginning(self) -> Run:
        """The run of the shared epochs, from whose last checkpoint every trial begins."""
        return Run(self.folder.parent / "beginning")

    def train_beginning(self) -> None:
        """Train the shared epochs, or the rest of them."""
        shown = f"the first {self.shared} epochs of all trials"
        config = self._configured({"loop.stop_after": self.shared}, self.beginning, shown)
        self.train(config, ignore)

    def configured(self, values: Mapping[str, Any], name: str) -> Any:
        """The config of one trial."""
        return self._configured(values, Run(self.folder / name), title(values))

    def _configured(self, values: Mapping[str, Any], run: Run, shown: str) -> Any:
        """The config with other values, of a run in this folder that MLflow shows below the sweep's."""
        fixed = {
            "run.name": run.name,
            "run.storage": str(Path(run.place).parent),
            "run.resume": run.begun,
            "tracking.parent": self.parent,
            "tracking.name": shown,
        }
        return override(self.config, {**values, **fixed})


def title(values: Mapping[str, Any]) -> str:
    """Short name of a trial by its settings: `temperature 0.21, grid 0.4`."""
    return ", ".join(f"{key.rpartition('.')[2]} {short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    """A value as short text."""
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)


def run_trial(values: dict[str, Any], trials: Trials) -> None:
    """Tune's function for a trial; TrainingError if the objective is never reported, or not finite."""
    from ray import tune

    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = str(PATIENCE)
    name = tune.get_context().get_trial_id()
    folder = trials.folder / name
    checkpoints = Checkpoints(Run(folder).checkpoints)
    copied = tune.get_checkpoint()
    if copied is not None:
        with copied.as_directory() as source:
            checkpoint = Checkpoint.at(source)
            assert checkpoint is not None, "a trial gave Tune an incomplete checkpoint"
            checkpoints.adopt(checkpoint)
    elif trials.shared and checkpoints.latest() is None:
        beginning = Checkpoints(trials.beginning.checkpoints).latest()
        assert beginning is not None, "the shared epochs are trained first"
        checkpoints.adopt(beginning)
    reporter = Reporter(trials.objective, checkpoints if trials.exchange else None)
    trials.train(trials.configured(values, name), reporter.observe)
    reporter.finish(Run(folder))


def milestone(percent: float) -> int:
    """Quarters of the training that are done, after each of which trials may copy weights; 0 at its end."""
    return int(percent // GRACE) if percent < 100 else 0


class Reporter:
    """Reports a run's validations to Tune."""

    def __init__(self, objective: str, checkpoints: Checkpoints | None) -> None:
        self.objective, self.checkpoints = objective, checkpoints
        self.seen: set[str] = set()
        self.reported = False
        self.passed: int | None = None
        self.bad: float | None = None

    def observe(self, values: dict[str, float]) -> None:
        """Report to Tune if the objective is finite; its schedulers fail with others."""
        self.seen |= values.keys()
        value = values.get(self.objective)
        if value is None:
            return
        if not math.isfinite(value):
            self.bad = values["epoch"]
        elif self.checkpoints is None:
            self._report(values)
        else:
            reached = milestone(values["percent"])
            if self.passed is None:  # the milestone at which the trial continued
                self.passed = milestone(values["percent"] * (1 - 1 / values["epoch"]))
            if reached != self.passed:
                self._report({**values, "milestone": reached}, self.checkpoints.latest())
            self.passed = reached

    def _report(self, values: dict[str, float], latest: Checkpoint | None = None) -> None:
        from ray import tune

        self.reported = True
        checkpoint = None if latest is None else tune.Checkpoint.from_directory(latest.folder)
        tune.report(values, checkpoint=checkpoint)

    def finish(self, folder: Run) -> None:
        """Report the last epoch if an interrupted sweep did not; TrainingError if there is nothing to report."""
        if not self.reported:
            epochs = [event["values"] for event in folder.history() if event["kind"] == "epoch"]
            for values in epochs[-1:]:
                self.observe(values)
        if self.bad is not None:
            raise TrainingError(f"{self.objective} is not a number after epoch {self.bad:.0f}")
        if not self.reported:
            raise TrainingError(
                f"the trial never reported {self.objective}, only {', '.join(sorted(self.seen)) or 'nothing'}"
            )
