"""Progress of a sweep: prints a line per trial, writes the ranking, ends the MLflow runs of trials."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from scenelift.cluster.ray_internals import Leftovers
from scenelift.io import storage
from scenelift.io.console import say
from scenelift.runs.folder import Run
from scenelift.tracking.client import Tracker, as_csv
from scenelift.tune import results
from scenelift.tune.results import Outcome, Status
from scenelift.tune.trial import Trials, title

EVERY = 20.0
"""Seconds between two lines about running trials."""


class SearchProgress(tune.Callback):
    """Called by Tune in the sweep's process."""

    def __init__(
        self, tracker: Tracker, trials: Trials, count: int, max_concurrent: int, baseline: dict[str, Any]
    ) -> None:
        self.tracker, self.trials, self.count, self.max_concurrent = tracker, trials, count, max_concurrent
        self.baseline, self.folder = baseline, trials.folder.parent
        self._all: list[Trial] = []
        self._ends: dict[str, str] = {}
        self._printed = time.monotonic()
        self._leftovers = Leftovers(trials.config.scale.cpus)
        _created.append(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Tune pickles its callbacks; a restored sweep gets the one of the process that restored it."""
        return _restored, ()

    def outcomes(self) -> list[Outcome]:
        """The state of every trial, in the order in which they began."""
        return [self._outcome(trial) for trial in self._all]

    def interrupted(self) -> bool:
        """Whether trials did not end; their runs are closed until the sweep is resumed."""
        # Tune also calls interrupted trials terminated.
        left = [each for each in self.outcomes() if self._run(each).status in (None, "interrupted")]
        for outcome in left:
            if self._run(outcome).mlflow_run is not None:
                self._close(replace(outcome, status="running"), "")
        return bool(left) or len(self._all) < self.count

    def _run(self, outcome: Outcome) -> Run:
        return Run(self.trials.folder / outcome.name)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Keep Tune's list of trials, which a resumed sweep begins with."""
        self._all = trials
        self._leftovers.free()

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Keep the list of a resumed sweep that has nothing left to do, too."""
        self._all = trials

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial was validated; print that, and the estimated time left, at most every `EVERY` seconds."""
        self._all = trials
        if time.monotonic() - self._printed < EVERY:
            return
        self._printed = time.monotonic()
        text = ", ".join(f"{name.rpartition('/')[2]} {value:.3f}" for name, value in _scores(result).items())
        ended = [outcome.seconds for outcome in self.outcomes() if outcome.status != "running"]
        if ended:
            rounds = (self.count - len(ended)) / self.max_concurrent
            text += f"   about {rounds * sum(ended) / len(ended) / 60:.0f} min left"
        say(f"  {title(trial.config)}: epoch {result['epoch']:.0f}, {text}")

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended(trials, trial, Trial.TERMINATED)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._ended(trials, trial, Trial.ERROR)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        say(f"trial {trial.trial_id} failed and is tried again: {_last_line(_error(trial))}")

    def _ended(self, trials: list[Trial], trial: Trial, end: str) -> None:
        self._all = trials
        self._ends[trial.trial_id] = end  # before Tune sets it
        outcome = self._outcome(trial)
        self._close(outcome, _error(trial))
        objective = self.trials.objective
        outcomes = [o for o in self.outcomes() if o.status != "running"]
        rows = results.rows(outcomes, objective)
        storage.write_text(self.folder / "ranking.csv", as_csv(rows))
        self.tracker.table(rows, "ranking")
        first = results.ranked(outcomes, objective)[0]
        if first.status == "finished" and objective in first.metrics:
            best = {f"so_far/{objective.rpartition('/')[2]}": first.metrics[objective]}
            self.tracker.metrics(best, len(outcomes))
        value = outcome.metrics.get(objective)
        score = outcome.error if value is None or outcome.error else f"{objective} {value:.3f}"
        status = {"stopped": f"stopped after epoch {outcome.epoch}"}.get(outcome.status, outcome.status)
        settings = "the preset's own values" if outcome.baseline else title(outcome.values)
        say(f"trial {len(outcomes)}/{self.count} {status} in {outcome.seconds:.0f} s: {score} ({settings})")

    def _outcome(self, trial: Trial) -> Outcome:
        last = trial.last_result or {}
        values = dict(trial.config)
        end = self._ends.get(trial.trial_id, trial.status)
        status: Status = "failed" if end == Trial.ERROR else "running"
        if end == Trial.TERMINATED:
            status = "finished" if last.get("percent", 0) >= 100 else "stopped"
        return Outcome(
            name=trial.trial_id,
            values=values,
            status=status,
            epoch=int(last.get("epoch", 0)),
            metrics=_scores(last),
            seconds=float(last.get("time_total_s", 0.0)),
            baseline=values == self.baseline,
            error=_last_line(_error(trial)) if end == Trial.ERROR else "",
        )

    def _close(self, outcome: Outcome, error: str) -> None:
        """End the MLflow run and write the result of a trial whose process could not."""
        if outcome.status == "finished":
            return
        run = self._run(outcome)
        tracking = self.trials.config.tracking
        run_id = run.mlflow_run
        if run_id is None:  # it failed before its run began
            run.folder.mkdir(parents=True, exist_ok=True)
            name = title(outcome.values)
            tracking = replace(tracking, system_metrics=0, name=name, parent=self.trials.parent)
            tracker = Tracker.start(tracking, self.folder.parent, outcome.name, outcome.values, {})
        else:
            tracker = Tracker.reopen(tracking, self.folder.parent, run_id)
        status = "interrupted" if outcome.status == "running" else outcome.status
        tracker.tags({"sweep_status": status, "epochs_done": str(outcome.epoch)})
        result: dict[str, Any] = {"status": status, "epoch": outcome.epoch, "metrics": dict(outcome.metrics)}
        if outcome.status == "failed":
            storage.write_text(run.folder / "error.txt", error)
            tracker.text(error, "error.txt")
            result["error"] = outcome.error
        run.finish({**result, "mlflow": tracker.info})
        tracker.finish("FAILED" if outcome.status == "failed" else "KILLED")


_created: list[SearchProgress] = []


def _restored() -> SearchProgress:
    return _created[-1]


def _scores(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result.items() if name.startswith("validation/")}


def _error(trial: Trial) -> str:
    """The traceback of the trial's last failure, or nothing."""
    path = trial.error_file
    text = Path(path).read_text() if path and Path(path).exists() else ""
    return re.sub("\x1b\\[[0-9;]*m", "", text)  # Ray colors it


def _last_line(error: str) -> str:
    """The error's name and message, without the module."""
    last = (error.strip().splitlines() or [""])[-1]
    return re.sub(r"^[\w.]+\.(\w+: )", r"\1", last)
