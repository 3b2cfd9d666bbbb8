"""A run from its first line to `result.json`: folder, MLflow, progress of workers, scores, pictures, status."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from scenelift.config import build as configuration
from scenelift.config.difference import difference, title, written
from scenelift.errors import SceneliftError
from scenelift.evaluation import plots, reports, scoring
from scenelift.evaluation.config import Absent
from scenelift.evaluation.scoring import Evaluation
from scenelift.io import folders, storage
from scenelift.io.console import Meter, say
from scenelift.runs.config import RunConfig
from scenelift.runs.folder import Run
from scenelift.runs.monitor import Following, Observe, ignore
from scenelift.shards.read import Samples, Shards
from scenelift.tracking.client import Tracker
from scenelift.tracking.config import TrackingConfig
from scenelift.train.launch import Resources
from scenelift.train.method import Trained
from scenelift.train.preflight import Measured
from scenelift.train.state import Event

if TYPE_CHECKING:
    from scenelift.teachers.clip import DenseClip

Status = Literal["finished", "failed", "interrupted", "measured"]
_MLFLOW_STATUS: dict[Status, Literal["FINISHED", "FAILED", "KILLED"]] = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "measured": "KILLED",  # so that nobody takes it for a training's result
}
PICTURED_FRAMES = 3
"""Test frames that are drawn."""


class Experiment:
    """One run: everything that hangs on a training from outside."""

    def __init__(self, run: Run, tracker: Tracker, config: Any, observe: Observe = ignore) -> None:
        self.run, self.tracker, self.config = run, tracker, config
        self.began = time.monotonic()
        self.metrics: dict[str, float] = {}
        self.result: dict[str, Any] = {}
        self._following = Following(run, tracker, observe)

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
        self._following.take(event)
        if self._following.estimate is not None:
            self.result["estimate"] = self._following.estimate

    def trained(self) -> None:
        """The training is over: close its progress."""
        self._following.end()
        if self._following.waiting is not None:
            self.result["data_wait"] = round(self._following.waiting, 4)

    def score(self, shards: Shards, make: scoring.Make, title: str, resources: Resources) -> Evaluation:
        """Score predictors on all frames, with progress; metrics are recorded under their names."""
        keep = reports.spread(len(shards), PICTURED_FRAMES)
        with Meter(title, len(shards), "frames") as meter:
            return scoring.score(shards, make, keep, resources.workers, gpus=resources.gpus, done=meter.add)

    def report(
        self,
        evaluation: Evaluation,
        shards: Shards,
        teacher: DenseClip | None,
        absent: Absent,
        step: int,
        protocol: reports.Protocol = "label_free",
    ) -> str:
        """Metrics, per-class table and pictures of a scored run; returns the table as text."""
        self.metrics |= reports.metrics(evaluation, absent, protocol)
        self.tracker.metrics(self.metrics, step)
        self.tracker.table(reports.class_rows(evaluation), "classes")
        frames = dict(zip(evaluation.kept, shards.read_many(list(evaluation.kept)), strict=True))
        reports.draw(self.run.pictures, evaluation, frames, teacher)
        return reports.table(evaluation, absent)

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
    run: RunConfig,
    tracking: TrackingConfig,
    tags: dict[str, str],
    presets: Mapping[str, Any],
    observe: Observe = ignore,
) -> Iterator[Experiment]:
    """A run that ends well or says why it did not: result.json and the MLflow run get the same status.

    presets: the command's. Which one the run is and what it changes become tags, and its name in MLflow if it
    was given none.
    """
    storage.require_space(run.storage, 64 << 20)
    opened = Run.open(command, config, run)
    preset, options = difference(config, presets)
    changed = written(options)
    tags = {"trainable": command, "preset": preset, "changed": changed, **tags}
    tracker = Tracker.start(
        tracking,
        opened.records,
        run.name or title(opened.name, preset, changed),
        configuration.flatten(config),
        tags,
        run_id=opened.mlflow_run,
    )
    opened.save_identity({**tracker.info, "tags": tags})
    if opened.remote and tracker.info["tracking_uri"].startswith("sqlite:"):
        say(
            f"the run is kept in {opened.place}, MLflow's record of it on this machine, in "
            f"{opened.records / 'mlflow.db'}; set MLFLOW_TRACKING_URI to a server to keep both"
        )
    tracker.text(configuration.dump(config), "config.yaml")
    made = Experiment(opened, tracker, config, observe)
    try:
        yield made
    except Measured:
        made.trained()
        made.close("measured")
        print("\nIt fits. To train: the same without loop.preflight_steps; if named, with --run.resume true")
    except BaseException as error:
        status: Status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        try:
            made.close(status, f"{type(error).__name__}: {error}")
        except SceneliftError as besides:  # must not hide what went wrong first
            say(f"the run's end is not recorded: {besides}")
        raise
    else:
        made.close("finished")
    print(f"\nResult: {storage.join(opened.place, 'result.json')}", file=sys.stdout)
