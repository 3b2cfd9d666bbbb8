"""A run from its first line to `result.json`: folder, MLflow, progress of workers, scores, pictures, status."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from scenelift.config import build as configuration
from scenelift.config.build import difference, title, written
from scenelift.config.files import dump
from scenelift.errors import SceneliftError
from scenelift.evaluation import plots
from scenelift.io import folders, storage
from scenelift.io.console import say
from scenelift.runs.folder import Run
from scenelift.runs.monitor import Observe, RunMonitor, ignore
from scenelift.runs.task import Report
from scenelift.shards.read import Samples
from scenelift.tracking.client import Tracker
from scenelift.tracking.dashboard import COLUMNS
from scenelift.train.method import Trained
from scenelift.train.preflight import Measured
from scenelift.train.state import Event

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
