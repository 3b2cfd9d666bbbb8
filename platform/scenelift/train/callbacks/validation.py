"""The ends of epochs: validation, when it ends a training early, and what is said of it."""

from __future__ import annotations

import math
from typing import Any

from scenelift.errors import ConfigError
from scenelift.train.state import Callback, TrainState


class Validation(Callback):
    """Scores the student after each epoch that `validation.every` names, whatever else is logged."""

    def on_epoch(self) -> None:
        worker, plan = self.state.worker, self.state.worker.plan
        assert worker.validate is not None
        epoch = self.state.done // plan.steps_per_epoch
        self.state.scores = worker.validate(self.state.student, epoch, plan.loop.epochs)


def watched(state: TrainState) -> float | None:
    """The score that `loop.watch` goes by; None where the step was not validated, ConfigError where there is none
    of that name."""
    scores, metric = state.scores, state.worker.plan.loop.watch.metric
    if not scores:
        return None
    if metric is not None and metric not in scores:
        raise ConfigError(f"validation does not measure loop.watch.metric {metric}, only {', '.join(scores)}")
    return scores[metric or next(iter(scores))]


class EarlyStopping(Callback):
    """Ends the training after `loop.watch.early_stopping` validations in a row that were not the best so far.

    All ranks see the same metrics, and so agree.
    """

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self.best, self.stale = -math.inf, 0

    def on_start(self) -> None:
        self.state.stopped |= self.over

    def on_epoch(self) -> None:
        value = watched(self.state)
        if value is None:
            return
        self.stale = 0 if value > self.best else self.stale + 1
        self.best = value if self.stale == 0 else self.best
        self.state.stopped |= self.over
        self.state.save_due |= self.over

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self.stale >= self.state.worker.plan.loop.watch.early_stopping

    def on_end(self) -> None:
        if self.over and self.state.done < self.state.worker.plan.steps:
            self.state.post("stopped", best=self.best, validations=self.stale)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "stale": self.stale}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.best, self.stale = saved["best"], saved["stale"]


class Reports(Callback):
    """Says how the training stands after epochs: those that were validated, and else one in `loop.log_every` steps,
    since reports make all ranks wait."""

    def on_step_end(self) -> None:
        state, plan = self.state, self.state.worker.plan
        if state.done % plan.steps_per_epoch or not self._due():
            return
        epoch = state.done // plan.steps_per_epoch
        percent = 100.0 if state.stopped else 100 * epoch / plan.loop.epochs
        values = {"epoch": epoch, "percent": percent, "loss": state.loss, **state.scores}
        state.post("epoch", values=values)
        state.worker.report({"step": state.done, **values})

    def _due(self) -> bool:
        state, plan = self.state, self.state.worker.plan
        before, every = state.done - plan.steps_per_epoch, plan.loop.log_every
        return bool(state.scores) or state.done // every > before // every or state.done == plan.steps
