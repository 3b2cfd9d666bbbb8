"""One trial of a sweep: an ordinary run of a trainable, in a process of Ray Tune that reports its validation.

The process holds no resources of its own; the training inside it is Ray Train's, as outside of sweeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenelift.config.build import override
from scenelift.errors import TrainingError
from scenelift.runs.folder import Run
from scenelift.runs.monitor import Observe, ignore
from scenelift.train.checkpoints import Checkpoint, Checkpoints

GRACE = 25
"""Percent of its training that every trial is given before it is judged."""


@dataclass(frozen=True)
class Trials:
    """What the trials of a sweep have in common, as it travels to their processes."""

    train: Callable[[Any, Observe], None]
    """(a config, what takes the figures at the end of epochs): a whole run."""
    config: Any
    """The trainable's config, but for what is searched."""
    folder: Path
    """Where the trials' run folders lie."""
    parent: str
    """The sweep's MLflow run."""
    objective: str
    exchange: bool = False
    """Hand checkpoints to Tune, for searches in which trials take over each other's weights."""
    shared: int = 0
    """How many of the first epochs all trials share: trained once, by the run `beginning`."""

    @property
    def beginning(self) -> Run:
        """The run whose last checkpoint every trial begins from, where they share epochs."""
        return Run(self.folder.parent / "beginning")

    def train_beginning(self) -> None:
        """Train the epochs that all trials share, or what is left of them."""
        beginning = self.beginning
        fixed = {
            "loop.stop_after": self.shared,
            "run.name": beginning.name,
            "run.storage": str(self.folder.parent),
            "run.resume": beginning.begun,
            "tracking.parent": self.parent,
            "tracking.name": f"the first {self.shared} epochs of all trials",
        }
        self.train(override(self.config, fixed), ignore)

    def configured(self, values: Mapping[str, Any], name: str) -> Any:
        """The config of one trial."""
        fixed = {
            "run.name": name,
            "run.storage": str(self.folder),
            "run.resume": Run(self.folder / name).begun,
            "tracking.parent": self.parent,
            "tracking.name": title(values),
        }
        return override(self.config, {**values, **fixed})


def title(values: Mapping[str, Any]) -> str:
    """What tells a trial apart, in few letters: `temperature 0.21, grid 0.4`."""
    return ", ".join(f"{key.rpartition('.')[2]} {short(value)}" for key, value in values.items())


def short(value: Any) -> str:
    """A value in few letters."""
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)


def run_trial(values: dict[str, Any], trials: Trials) -> None:
    """What Tune runs for each trial; TrainingError if the objective is never reported, or is not a number."""
    from ray import tune

    name = tune.get_context().get_trial_id()
    folder = trials.folder / name
    own = Checkpoints(Run(folder).checkpoints)
    handed = tune.get_checkpoint()
    if handed is not None:
        with handed.as_directory() as source:
            checkpoint = Checkpoint.at(source)
            assert checkpoint is not None, "a trial handed over a checkpoint that is not whole"
            own.adopt(checkpoint)
    elif trials.shared and own.latest() is None:
        beginning = Checkpoints(trials.beginning.checkpoints).latest()
        assert beginning is not None, "trials begin after what they share"
        own.adopt(beginning)
    reporter = Reporter(trials.objective, own if trials.exchange else None)
    trials.train(trials.configured(values, name), reporter.observe)
    reporter.finish(Run(folder))


def milestone(percent: float) -> int:
    """How many of the first three quarters of the training are done: where trials may take over each other's
    weights. At its end there is none, as a trial has nothing left to do with them."""
    return int(percent // GRACE) if percent < 100 else 0


class Reporter:
    """Passes a run's validations on to Tune."""

    def __init__(self, objective: str, checkpoints: Checkpoints | None) -> None:
        self.objective, self.checkpoints = objective, checkpoints
        self.seen: set[str] = set()
        self.reported = False
        self.passed: int | None = None
        self.bad: float | None = None

    def observe(self, values: dict[str, float]) -> None:
        """Report, where the values hold a finite objective; Tune's schedulers cannot bear another."""
        self.seen |= values.keys()
        value = values.get(self.objective)
        if value is None:
            return
        if not math.isfinite(value):
            self.bad = values["epoch"]
            return
        if self.checkpoints is None:
            self._report(values)
            return
        here = milestone(values["percent"])
        if self.passed is None:  # what the trial went on from
            self.passed = milestone(values["percent"] * (1 - 1 / values["epoch"]))
        if here != self.passed:
            self._report({**values, "milestone": here}, self.checkpoints.latest())
        self.passed = here

    def _report(self, values: dict[str, float], latest: Checkpoint | None = None) -> None:
        from ray import tune

        self.reported = True
        handed = None if latest is None else tune.Checkpoint.from_directory(latest.folder)
        tune.report(values, checkpoint=handed)

    def finish(self, folder: Run) -> None:
        """Report what an interrupted sweep lost; complain where there is nothing to report."""
        if not self.reported:
            lost = [event["values"] for event in folder.history() if event["kind"] == "epoch"]
            for values in lost[-1:]:
                self.observe(values)
        if self.bad is not None:
            raise TrainingError(f"{self.objective} is not a number after epoch {self.bad:.0f}")
        if not self.reported:
            raise TrainingError(
                f"the trial never reported {self.objective}, only {', '.join(sorted(self.seen)) or 'nothing'}"
            )
