"""One run of any task: its folder, MLflow, training, scores, pictures and status."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch

from scenelift.cluster import connect as cluster
from scenelift.config import build as configuration
from scenelift.config.build import difference, title, written
from scenelift.config.files import dump
from scenelift.errors import SceneliftError
from scenelift.evaluation import plots
from scenelift.evaluation.validation import Validation
from scenelift.io import folders, storage
from scenelift.io.console import Meter, say
from scenelift.runs.folder import Run
from scenelift.runs.task import Report, Task
from scenelift.shards.read import Samples
from scenelift.tracking.client import Tracker
from scenelift.tracking.dashboard import COLUMNS
from scenelift.train.job import Job, build_from
from scenelift.train.launch import Resources, launch
from scenelift.train.method import Trained
from scenelift.train.plan import Plan
from scenelift.train.preflight import Estimate, Measured
from scenelift.train.state import Event

Observe = Callable[[dict[str, float]], None]
"""Takes what is known at the end of an epoch: epoch, percent, loss and validation metrics. It is called in the
thread that listens to the workers."""


def ignore(values: dict[str, float]) -> None:
    """The observer of a run that nobody observes."""


def run(task: Task[Any], observe: Observe = ignore) -> None:
    """The whole run, from connecting to Ray to `result.json`; observe: takes what is said at the end of epochs."""
    config = task.config
    with cluster.connect():
        resources = Resources.fit(config.scale)
        samples, validation = task.validation()
        # Refuses what cannot be split over the workers, or weights that are missing, before a run is begun.
        Plan(len(task.train) if samples is None else len(samples), config.loop, resources.workers)
        torch.manual_seed(config.loop.seed)
        student = task.student()
        tags = {"dataset": task.train.manifest.dataset, "seed": str(config.loop.seed), **task.tags()}
        columns = (*task.objectives, *task.columns)
        with experiment(task.command, config, tags, task.presets, columns, observe) as started:
            job = _job(task, student, samples, validation, started)
            _train_and_score(task, job, resources, started)


def _job(
    task: Task[Any], student: Trained, samples: Any, validation: Validation[Any] | None, started: Experiment
) -> Job:
    config, initial = task.config, started.begin(student)
    return Job(
        shards=task.train.path,
        folder=started.run.checkpoints,
        loop=config.loop,
        optimizer=config.optimizer,
        collate=task.collate(student),
        build=partial(build_from, partial(type(task).method, config), initial),
        retries=config.scale.retries,
        frames=samples,
        validation=validation,
        kind=task.train.kind,
        smaller_samples=task.smaller_samples,
    )


def _train_and_score(task: Task[Any], job: Job, resources: Resources, started: Experiment) -> None:
    initial, before = started.run.initial, None
    started.dataset(task.train, "train")
    if task.test is not None:
        started.dataset(task.test, "test")
        if not job.loop.preflight_steps:
            before = task.score_before(initial, resources)
    last = launch(job, resources, started.listen)
    started.trained()
    started.result |= {"checkpoint": last.folder, "device": resources.device, "workers": resources.workers}
    if task.test is not None:
        report = task.score(before, initial, last.folder, resources, started.run.pictures)
        started.report(report, last.step)
    student = task.load(last.folder)
    started.save_student(student, task.describe(student), last.step)


Status = Literal["finished", "failed", "interrupted", "measured"]
_MLFLOW_STATUS: dict[Status, Literal["FINISHED", "FAILED", "KILLED"]] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "measured": "KILLED",  # so that nobody takes it for a training's result
}


class Experiment:
    """One run: everything around a training."""

    def __init__(self, run: Run, tracker: Tracker, config: Any, observe: Observe) -> None:
        self.run, self.tracker, self.config = run, tracker, config
        self.began = time.monotonic()
        self.metrics: dict[str, float] = {}
        self.result: dict[str, Any] = {}
        self._monitor = RunMonitor(run, tracker, observe)

    def dataset(self, shards: Samples[Any], context: str) -> None:
        """Record which shards the run reads."""
        manifest = shards.manifest.to_json()
        digest = hashlib.sha256(manifest.encode()).hexdigest()[:16]
        name = f"{shards.manifest.dataset}-{shards.manifest.split}"
        self.tracker.dataset(shards.path, manifest, name, digest, context)

    def begin(self, student: Trained) -> str:
        """Keep the student as it is before the first step, unless the run has one; returns its folder."""
        if folders.about(self.run.initial) is None:
            with folders.written(self.run.initial) as folder:
                student.save(folder)
        return self.run.initial

    def listen(self, event: Event) -> None:
        """Take an event of the workers: to MLflow, to the history, to the screen."""
        self._monitor.take(event)
        if self._monitor.estimate is not None:
            self.result["estimate"] = self._monitor.estimate

    def trained(self) -> None:
        """The training is over: close its progress."""
        self._monitor.end()
        if self._monitor.waiting is not None:
            self.result["data_wait"] = round(self._monitor.waiting, 4)

    def report(self, report: Report, step: int) -> None:
        """Print and record what scoring the test samples came to."""
        for remark in report.remarks:
            say(remark)
        self.metrics |= report.metrics
        self.tracker.metrics(self.metrics, step)
        for name, rows in report.tables.items():
            self.tracker.table(rows, name)
        print(report.text)

    def save_student(self, student: Trained, params: Mapping[str, Any], step: int) -> None:
        """Keep the trained student by itself, in the run's folder and as a logged model with these params."""
        folder = self.run.folder / "student"
        student.save(folder)
        self.run.publish(folder.name)
        self.tracker.model("student", folder, params, self.metrics, step)

    def close(self, status: Status, error: str | None = None) -> None:
        """Write curves and result.json, and end the MLflow run."""
        curves = self.run.curves()
        for group, picture in (("loss/", "losses.png"), ("validation/", "validation.png")):
            chosen = {name: points for name, points in curves.items() if name.startswith(group)}
            if chosen:
                plots.curves(self.run.pictures / picture, chosen)
        self.run.finish(
            {
                "status": status,
                "metrics": self.metrics,
                **self.result,
                "mlflow": self.tracker.info,
                "seconds": round(time.monotonic() - self.began, 1),
                "config": configuration.to_dict(self.config),
                **({"error": error} if error else {}),
            }
        )
        if any(self.run.pictures.iterdir()):
            self.tracker.artifact(self.run.pictures, "pictures")
        self.tracker.finish(_MLFLOW_STATUS[status])


@contextmanager
def experiment(
    command: str,
    config: Any,
    tags: Mapping[str, str],
    presets: Mapping[str, Any],
    columns: Sequence[str],
    observe: Observe = ignore,
) -> Iterator[Experiment]:
    """A run that ends well or says why it did not: result.json and the MLflow run get the same status.

    config: a tree with the groups run and tracking; tags: of the MLflow run; presets: the command's, of which the
    nearest one and what the config changes of it become tags, and the run's name in MLflow if it was given none;
    columns: metrics that a dashboard shows, the most telling first.
    """
    storage.require_space(config.run.storage, 64 << 20)
    opened = Run.open(command, config, config.run)
    preset, options = difference(config, presets)
    changed = written(options)
    shown = json.dumps({"metrics": list(columns), "tags": list(tags)})
    every = {"trainable": command, "preset": preset, "changed": changed, **tags, COLUMNS: shown}
    tracker = Tracker.start(
        config.tracking,
        opened.records,
        config.run.name or title(opened.name, preset, changed),
        configuration.flatten(config),
        every,
        run_id=opened.mlflow_run,
    )
    opened.save_identity({**tracker.info, "tags": every})
    if opened.remote and tracker.info["tracking_uri"].startswith("sqlite:"):
        say(
            f"the run is kept in {opened.place}, MLflow's record of it on this machine, in "
            f"{opened.records / 'mlflow.db'}; set MLFLOW_TRACKING_URI to a server to keep both"
        )
    tracker.text(dump(config), "config.yaml")
    started = Experiment(opened, tracker, config, observe)
    try:
        yield started
    except Measured:
        started.trained()
        started.close("measured")
        print("\nIt fits. To train: the same without loop.preflight_steps; if named, with --run.resume true")
    except BaseException as error:
        status: Status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            started.close(status, f"{type(error).__name__}: {error}")
        except SceneliftError as also:  # must not hide what went wrong first
            say(f"the run's end is not recorded: {also}")
        raise
    else:
        started.close("finished")
    print(f"\nResult: {storage.join(opened.place, 'result.json')}", file=sys.stdout)


SLOW = 0.1
"""Share of its time above which a training that waits for data is held up by reading: reading runs ahead of
computing and is waited for only where it is the slower of the two."""


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
