"""The pre-flight of every training: its first steps say what the rest of it takes."""

from __future__ import annotations

from dataclasses import asdict

from scenelift.errors import ConfigError
from scenelift.train import preflight
from scenelift.train.state import Callback


class Measuring(Callback):
    """Times the first steps, and refuses a training that cannot fit; ends it where that was all that is wanted."""

    def on_start(self) -> None:
        state, plan = self.state, self.state.worker.plan
        wanted, self._start = plan.loop.preflight_steps, state.done
        if wanted > plan.steps - state.done:
            raise ConfigError(
                f"the run has {plan.steps - state.done} steps to go, less than loop.preflight_steps "
                f"{wanted}; lower it or train at once"
            )
        clock = preflight.clock(state.worker.device)
        self._watch = preflight.Stopwatch(state.done, state.done + (wanted or preflight.MEASURED), clock)

    def on_step(self) -> None:
        self._seconds = self._watch.lap(self.state.done)

    def on_step_end(self) -> None:
        state, plan = self.state, self.state.worker.plan
        only_measured = plan.loop.preflight_steps > 0
        if self._seconds is None or (state.done == plan.steps and not only_measured):
            return
        state.stopped |= only_measured
        if state.worker.rank == 0:
            self._estimate(self._start if only_measured else state.done, self._seconds)

    def _estimate(self, done: int, seconds: float) -> None:
        """Report what the steps after `done` take, at the given seconds each; refuse what cannot fit."""
        state, worker, plan = self.state, self.state.worker, self.state.worker.plan
        weights = state.student.state_dict()
        besides = [state.optimizer.state_dict(), state.method.student.state_dict() if state.replaced else {}]
        best = plan.loop.watch.keep_best
        estimate = preflight.Estimate.take(
            worker.device,
            worker.checkpoints,
            weights,
            besides,
            plan.steps - done,
            seconds,
            plan.saves(done) + best,
            worker.checkpoints.keep + best,
        )
        state.post("estimate", values=asdict(estimate))
        estimate.require(worker.checkpoints.workplace, preflight.smaller(plan, worker.smaller_samples))
