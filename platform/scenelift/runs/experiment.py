"""The records of one run: its folder, MLflow run, scores, pictures and status."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from scenelift.config import build as configuration
from scenelift.config.files import dump
from scenelift.errors import DataError, SceneliftError
from scenelift.evaluation import plots
from scenelift.inference import flavor
from scenelift.io import folders, secrets, storage
from scenelift.io.console import Meter, say
from scenelift.io.secrets import address
from scenelift.runs.config import RunConfig
from scenelift.runs.folder import Run
from scenelift.runs.history import BOTH
from scenelift.runs.task import Report
from scenelift.shards.read import Samples
from scenelift.tracking import provenance
from scenelift.tracking.client import Tracker
from scenelift.tracking.dashboard import COLUMNS
from scenelift.train.method import Trained
from scenelift.train.preflight import Estimate, Measured
from scenelift.train.state import Event

Status = Literal["finished", "failed", "interrupted", "measured"]
_MLFLOW_STATUS: dict[Status, Literal["FINISHED", "FAILED", "KILLED"]] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "measured": "KILLED",  # so that nobody takes it for a training's result
}
STUDENT = "student"
"""Folder of the trained student in that of a run."""
SLOW = 0.1
"""Fraction of a training spent waiting for data above which reading is the bottleneck."""

Observe = Callable[[dict[str, float]], None]
"""Called at the end of epochs, in the listening thread, with epoch, percent, loss and validation metrics."""


def ignore(values: dict[str, float]) -> None:
    """The observer of a run that is not part of a sweep."""


def finished(config: Any) -> bool:
    """Whether the run that the config goes on with has ended well. Says so, and sends MLflow the metrics that it
    lacks; in the run's folder nothing is touched."""
    settings: RunConfig = config.run
    if not settings.resume or settings.name is None:
        return False
    folder = Run(storage.join(settings.storage, settings.name))
    if folder.status != "finished" or _stopped_after(folder.result) != _stopped_after(
        {"config": vars(config)}
    ):
        return False
    if folder.mlflow_run is not None:
        tracker = Tracker.reopen(config.tracking, folder.records, folder.mlflow_run)
        for event in folder.history():
            if event["kind"] in ("metrics", "epoch"):
                tracker.metrics(_recorded(event), event["step"])
        tracker.finish("FINISHED")
    say(f"run {folder.name} is finished, and stays as it is: {storage.join(folder.place, 'result.json')}")
    return True


def _stopped_after(result: Any) -> int | None:
    """The epoch after which a run was told to stop, from its result."""
    loop = (result.get("config") or {}).get("loop") or {}
    stop: int | None = (
        loop.get("stop_after") if isinstance(loop, Mapping) else getattr(loop, "stop_after", None)
    )
    return stop


@contextmanager
def experiment(
    command: str,
    config: Any,
    tags: Mapping[str, str],
    presets: Mapping[str, Any],
    columns: Sequence[str],
    observe: Observe = ignore,
) -> Iterator[Experiment]:
    """A run whose result.json and MLflow run get the same status, whether it ends well or fails. config: a tree
    with the groups run and tracking; tags: of the MLflow run; presets: of the command: the nearest one and the
    differences from it become tags, and the MLflow name of a run without a name; columns: metrics that a
    dashboard shows, the most important first."""
    folder = Run.open(command, config, config.run)
    try:
        with _recorded_run(folder, command, config, tags, presets, columns, observe) as started:
            yield started
    finally:
        folder.release()


@contextmanager
def _recorded_run(
    folder: Run,
    command: str,
    config: Any,
    tags: Mapping[str, str],
    presets: Mapping[str, Any],
    columns: Sequence[str],
    observe: Observe,
) -> Iterator[Experiment]:
    """`experiment` in a folder that no other process writes."""
    preset, options = configuration.difference(config, presets)
    changed, values = configuration.written(options), configuration.to_dict(config)
    params = configuration.flatten(config)
    name = config.run.name or configuration.title(folder.name, preset, changed)
    shown = json.dumps({"metrics": list(columns), "tags": list(tags)})
    tags = {"trainable": command, "preset": preset, "changed": changed, **tags, COLUMNS: shown}
    tracker = Tracker.start(config.tracking, folder.records, name, params, tags, folder.mlflow_run)
    folder.save_identity({**tracker.info, "tags": tags})
    if folder.remote and tracker.info["tracking_uri"].startswith("sqlite:"):
        say(
            f"the run is kept in {folder.place}, MLflow's record of it on this machine, in "
            f"{folder.records / 'mlflow.db'}; set MLFLOW_TRACKING_URI to a server to keep both"
        )
    tracker.text(dump(config), "config.yaml")
    started = Experiment(folder, tracker, values, observe)
    try:
        yield started
    except Measured:
        started.trained()
        started.close("measured")
        print("\nIt fits. To train: the same without loop.preflight_steps; if named, with --run.resume true")
    except BaseException as error:
        if (
            isinstance(error, SystemExit) and not error.code
        ):  # so Ray Tune ends a trial: the sweep records why
            tracker.leave()
            raise
        status: Status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            started.close(status, f"{type(error).__name__}: {error}")
        except SceneliftError as second:  # must not hide the first error
            say(f"the run's end is not recorded: {second}")
        if isinstance(error, KeyboardInterrupt):
            raise type(error)(f"interrupted; continue with: {_continuing(folder)}") from None
        raise
    else:
        started.close("finished")
    print(f"\nResult: {address(storage.join(folder.place, 'result.json'))}")


def _continuing(run: Run) -> str:
    """The command that goes on with a run."""
    place = storage.split(run.place)[0]
    kept = [] if place == storage.absolute("runs") else ["--run.storage", place]
    options = [*kept, "--run.name", run.name, "--run.resume", "true"]
    return secrets.command([*provenance.program().split(), *options])


class Experiment:
    """The records of one run: events of its workers, scores and the student, to its folder, MLflow and the
    screen. It spans one training from its first start to its end; workers may be restarted many times on the
    way."""

    def __init__(self, run: Run, tracker: Tracker, config: Any, observe: Observe) -> None:
        """config: as plain values, for `result.json`."""
        self.run, self.tracker, self.config, self.observe = run, tracker, config, observe
        self.began = time.monotonic()
        self.metrics: dict[str, float] = {}
        self.result: dict[str, Any] = {}
        self._meter: Meter | None = None
        self._workers = 0
        self._seconds = self._waited = 0.0
        self._reached = 0
        for event in run.history():
            if event["kind"] in ("metrics", "epoch"):
                self._reached = event["step"]
                tracker.metrics(_recorded(event), self._reached)  # drops the steps that MLflow has already

    def dataset(self, shards: Samples[Any], *contexts: str) -> None:
        """Record which shards the run reads; contexts: train, test, or both: MLflow keeps equal ones once.
        DataError if the run began with others."""
        content = "".join(shard.sha256 for shard in shards.manifest.shards)
        digest = hashlib.sha256(content.encode()).hexdigest()
        for context in contexts:
            begun = [e for e in self.run.history() if e["kind"] == "data" and e.get("context") == context]
            if begun and begun[-1].get("sha256") != digest:
                raise DataError(
                    f"{shards.path} holds other shards than run {self.run.name} began with; give the folder that "
                    f"has them with --data.{context}, or give the run a new name"
                )
            if not begun:
                self.run.record({"kind": "data", "context": context, "sha256": digest, "step": 0})
        manifest = shards.manifest.to_json()
        digest = hashlib.sha256(manifest.encode()).hexdigest()[:16]
        name = f"{shards.manifest.release} {shards.manifest.split}"
        self.tracker.dataset(shards.path, manifest, name, digest, BOTH.join(contexts))

    def begin(self, student: Trained) -> str:
        """Save the student before its first step, unless a resumed run has it already; returns its folder."""
        if folders.about(self.run.initial) is None:
            with folders.written(self.run.initial) as folder:
                student.save(folder)
        return self.run.initial

    def listen(self, event: Event) -> None:
        """Record an event of the workers and show it."""
        self.run.record(event)
        step, kind = event["step"], event["kind"]
        if kind == "start":
            self._start(event)
        elif kind == "unwritten":
            say(f"step {step}: a checkpoint was not written, the next one is tried: {event['why']}")
        elif kind == "damaged":
            say(f"{event['folder']} is damaged and passed over: its files are not those that were written")
        elif kind == "stopped":
            say(f"stopped early at step {step}: {event['validations']} validations without a new best")
        elif kind == "starved":
            say(
                "training waits for data, and no machine has a CPU left to read it: it goes on when one comes; "
                "or stop it, and resume it with a smaller scale.workers or scale.cpus"
            )
        elif kind == "stalled":
            say(f"no step since {event['since']}; {'; '.join(event['workers'])}")
        elif kind == "spilled":
            moved = storage.megabytes(event["bytes"])
            say(f"Ray's object store was full: {moved} went to disk and back; it wants more memory")
        elif kind == "metrics":
            self._reached = step
            self._seconds += event["seconds"]
            self._waited += event["values"]["data_wait"] * event["seconds"]
            self._show(step, f"loss {event['values']['loss/total']:.4f}")
            self.tracker.metrics(event["values"], step)
        elif kind == "epoch":
            self._epoch(event)
        elif kind == "estimate":
            self._show(step)
            self.result["estimate"] = event["values"]
            say(f"estimated from the first steps:\n{Estimate(**event['values']).table()}")

    def _start(self, event: Event) -> None:
        step, workers, before = event["step"], event["workers"], self._workers
        kind = "resumed" if self._meter is None else "resized" if workers != before else "lost"
        if self._meter is None:
            self._meter = Meter("training", event["steps"], "steps")
            say(f"training on {workers} x {event['device']}")
        self._show(step)
        if self._reached:
            repeated = max(0, self._reached - step)
            reasons = {
                "resumed": "the run was left",
                "resized": f"workers changed from {before} to {workers}",
                "lost": "a worker was lost",
            }
            at = f"at step {self._reached}; going on from step {step}"
            say(f"{reasons[kind]} {at}: {repeated} steps repeated")
            progress = {"reached": self._reached, "repeated": repeated, "workers": workers}
            self.run.record({"kind": kind, "step": step, **progress})
        if before and workers != before:
            say(f"batch, micro-batches and learning rate stay; a step takes {event['rounds']} rounds")
        self._workers = workers

    def _show(self, step: int, note: str = "") -> None:
        assert self._meter is not None, "an event before a start"
        self._meter.to(step, note)

    def _epoch(self, event: Event) -> None:
        scores, values = _recorded(event), event["values"]
        if scores:
            self.tracker.metrics(scores, event["step"])
            text = ", ".join(f"{name.rpartition('validation/')[2]} {scores[name]:.3f}" for name in scores)
            say(f"epoch {values['epoch']:.0f}: {text} on the held-out scenes")
        self.observe(values)

    def trained(self) -> None:
        """The training is over: close the progress bar and name the bottleneck."""
        if self._meter is not None:
            self._meter.__exit__(None, None, None)
        if self._seconds:
            waiting = self._waited / self._seconds
            self.result["data_wait"] = round(waiting, 4)
            slow = "data loading" if waiting > SLOW else "computing"
            say(f"waited for data {100 * waiting:.0f} % of the training: {slow} was the bottleneck")
        self.tracker.flush()

    def report(self, report: Report, step: int) -> None:
        """Print and record the scores of the test samples."""
        for remark in report.remarks:
            say(remark)
        self.metrics |= report.metrics
        self.tracker.scores(self.metrics, step)
        for name, rows in report.tables.items():
            self.tracker.table(rows, name)
        print(report.text)

    def save_student(self, student: Trained, params: Mapping[str, Any], step: int) -> None:
        """Save the trained student in the run's folder and as a logged model with these params."""
        folder = self.run.folder / STUDENT
        with folders.written(folder) as inside:
            student.save(inside)
        self.run.publish(folder.name)
        model_id = self._log_model(STUDENT, student, folder, params, self.metrics, step)
        settings = self.config["tracking"]
        if settings["register"] is not None and model_id is not None:
            place = self.tracker.register(model_id, settings["register"], settings["alias"])
            say(f"registered: {place}" if place else f"{settings['register']} is not registered: see above")

    def log_best(
        self, student: Trained, params: Mapping[str, Any], metrics: Mapping[str, float], step: int
    ) -> None:
        """Log the student of the best checkpoint by validation, which is kept beside the trained one."""
        with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
            student.save(Path(folder))
            self._log_model("best", student, Path(folder), params, metrics, step)

    def _log_model(
        self,
        name: str,
        student: Trained,
        files: Path,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        step: int,
    ) -> str | None:
        """One that labels points becomes a model that MLflow can load and serve, any other its files."""
        if not flavor.names_classes(student):
            return self.tracker.model(name, files, params, metrics, step)
        with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
            flavor.save(files, Path(folder) / name)
            return self.tracker.model(name, Path(folder) / name, params, metrics, step)

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
                "config": self.config,
                **({"error": error} if error else {}),
            }
        )
        if any(self.run.pictures.iterdir()):
            self.tracker.artifact(self.run.pictures, "pictures")
        self.tracker.finish(_MLFLOW_STATUS[status])


def _recorded(event: Event) -> dict[str, float]:
    """The values of an event that MLflow gets: at the end of an epoch only those of a validation."""
    values: dict[str, float] = event["values"]
    if event["kind"] == "metrics":
        return values
    return {name: value for name, value in values.items() if name.startswith("validation/")}
