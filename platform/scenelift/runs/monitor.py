"""What a run makes of the events of its workers: records, lines on the screen, and how fast it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scenelift.io import storage
from scenelift.io.console import Meter, say
from scenelift.runs.folder import Run
from scenelift.tracking.client import Tracker
from scenelift.train.preflight import Estimate
from scenelift.train.state import Event

SLOW = 0.1
"""Share of its time above which a training that waits for data is held up by reading: reading runs ahead of
computing and is waited for only where it is the slower of the two."""


Observe = Callable[[dict[str, float]], None]
"""Takes what is known at the end of an epoch: epoch, percent, loss and validation metrics. It is called in the
thread that listens to the workers."""


def ignore(values: dict[str, float]) -> None:
    """The observer of a run that nobody observes."""


class RunMonitor:
    """Follows one training, from its first start to its end; workers may be started many times on the way."""

    def __init__(self, run: Run, tracker: Tracker, observe: Observe) -> None:
        self.run, self.tracker, self.observe = run, tracker, observe
        self.estimate: dict[str, Any] | None = None
        self._meter: Meter | None = None
        self._workers = 0
        self._seconds = self._waited = 0.0
        self._reached = self._catch_up()

    def _catch_up(self) -> int:
        """Give MLflow what an interrupted run could not give it; returns the step that was reached."""
        reached = 0
        for event in self.run.history():
            if event["kind"] in ("metrics", "epoch"):
                reached = event["step"]
                self.tracker.metrics(_recorded(event), reached)  # which drops what MLflow has
        return reached

    @property
    def waiting(self) -> float | None:
        """Share of the training's time in which rank 0 waited for data; None before a step was logged."""
        return self._waited / self._seconds if self._seconds else None

    def take(self, event: Event) -> None:
        """One event of the workers."""
        self.run.record(event)
        step, kind = event["step"], event["kind"]
        if kind == "start":
            self._start(event)
        elif kind == "unwritten":
            say(f"step {step}: a checkpoint was not written, the next one is tried: {event['why']}")
        elif kind == "stopped":
            say(f"stopped early at step {step}: {event['validations']} validations without a new best")
        elif kind == "starved":
            say(
                "training waits for data, and no machine has a CPU left to read it: it goes on when one comes; "
                "or stop it, and resume it with a smaller scale.workers or scale.cpus"
            )
        elif kind == "spilled":
            moved = storage.megabytes(event["bytes"])
            say(f"Ray's object store was full: {moved} went to disk and back; it wants more memory")
        elif kind == "metrics":
            self._reached = step
            self._seconds += event["seconds"]
            self._waited += event["values"]["data_wait"] * event["seconds"]
            self._show(step, f"loss {event['values']['loss/total']:.4f}")
            self.tracker.metrics(_recorded(event), step)
        elif kind == "epoch":
            self._epoch(event)
        elif kind == "estimate":
            self._show(step)
            self.estimate = event["values"]
            say(f"estimated from the first steps:\n{Estimate(**event['values']).table()}")

    def _start(self, event: Event) -> None:
        step, workers = event["step"], event["workers"]
        first, before = self._meter is None, self._workers
        if first:
            self._meter = Meter("training", event["steps"], "steps")
            say(f"training on {workers} x {event['device']}")
        self._show(step)
        if self._reached:
            repeated = max(0, self._reached - step)
            kind = "resumed" if first else "resized" if workers != before else "lost"
            words = {
                "resumed": "the run was left",
                "resized": f"workers changed from {before} to {workers}",
                "lost": "a worker was lost",
            }
            say(
                f"{words[kind]} at step {self._reached}; going on from step {step}: {repeated} steps repeated"
            )
            told = {"reached": self._reached, "repeated": repeated, "workers": workers}
            self.run.record({"kind": kind, "step": step, **told})
        if before and workers != before:
            say(f"batch, micro-batches and learning rate stay; a step takes {event['rounds']} rounds")
        self._workers = workers

    def _show(self, step: int, note: str = "") -> None:
        assert self._meter is not None, "an event before a start"
        self._meter.to(step, note)

    def _epoch(self, event: Event) -> None:
        found, values = _recorded(event), event["values"]
        if found:
            self.tracker.metrics(found, event["step"])
            said = ", ".join(f"{name.removeprefix('validation/')} {found[name]:.3f}" for name in found)
            say(f"epoch {values['epoch']:.0f}: {said} on the held-out scenes")
        self.observe(values)

    def end(self) -> None:
        """Close the progress bar and name the bottleneck."""
        if self._meter is not None:
            self._meter.__exit__(None, None, None)
        if self.waiting is not None:
            slow = "data loading" if self.waiting > SLOW else "computing"
            say(f"waited for data {100 * self.waiting:.0f} % of the training: {slow} was the bottleneck")
        self.tracker.flush()


def _recorded(event: Event) -> dict[str, float]:
    """What MLflow gets of an event: of an epoch's end only what validation found."""
    values: dict[str, float] = event["values"]
    if event["kind"] == "metrics":
        return values
    return {name: value for name, value in values.items() if name.startswith("validation/")}
