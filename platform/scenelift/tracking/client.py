"""MLflow: one run per training, one parent run per sweep. Only the driver writes, through a client and an
explicit run id, without a global active run; workers send their numbers to the driver."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scenelift.errors import TrackingError
from scenelift.io.console import warn_if_untested
from scenelift.io.secrets import address, public
from scenelift.tracking import mlflow_internals, provenance, store
from scenelift.tracking.config import TrackingConfig
from scenelift.tracking.store import Patient

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_log = logging.getLogger(__name__)

BATCH = 100
"""Metric points sent together ..."""
SECONDS = 3.0
"""... or as many as there are after this time."""
OUTAGE_SECONDS = 30.0
"""Pause before a server that stopped answering is asked again, while a training goes on meanwhile."""

_SENT_AT_ONCE = 1000  # MLflow's limit for metrics; its limit for parameters and tags is 100
_LONGEST_PARAMETER = 6000  # characters; MLflow cuts the rest off


class Tracker:
    """One MLflow run, written by one process. Every method raises TrackingError if MLflow refuses. A server
    that stops answering is waited for (`store.Patient`). What it does not take even then is left out, with a
    printed line, and does not end the run, whose folder has everything too."""

    def __init__(self, client: MlflowClient, uri: str, run: Run) -> None:
        self._client, self._uri, self._insist = client, uri, Patient(uri)
        self._id, self._experiment_id = run.info.run_id, run.info.experiment_id
        self._experiment = client.get_experiment(run.info.experiment_id).name
        self._last: dict[str, Metric] = {metric.key: metric for metric in mlflow_internals.last_points(run)}
        self._pending: list[Metric] = []
        self._due = time.monotonic() + SECONDS
        self._outage = False
        self._lock = threading.Lock()
        self._monitor: Any = None

    @classmethod
    def start(
        cls,
        config: TrackingConfig,
        runs_folder: Path,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str | None = None,
    ) -> Tracker:
        """Begin a run, or continue the run `run_id`. params: the flattened config. MLflow never changes a
        parameter: those that differ in a continued run become tags `resumed/<parameter>`. Raises TrackingError
        if the address is malformed or does not answer: within seconds for a new run, after `store.PATIENCE` for
        one that is continued or part of a sweep."""
        store.quiet()
        uri = store.resolve(config.uri, runs_folder)
        if run_id or config.parent:
            store.wait(uri)
        store.probe(uri)
        from mlflow import MlflowClient, __version__

        warn_if_untested("MLflow", __version__, mlflow_internals.TESTED_MLFLOW)
        tags = {key: address(value) for key, value in {**provenance.tags(), **tags}.items()}
        if config.parent:
            tags["mlflow.parentRunId"] = config.parent
        with store.errors(uri, "starting a run"), store.one_at_a_time(uri):
            client = MlflowClient(uri)
            if run_id is None:
                experiment = store.experiment(client, uri, config.experiment, runs_folder)
                run = client.create_run(experiment.experiment_id, run_name=config.name or name, tags=tags)
                _log_params(client, run, params)
            else:
                run = _continue(client, uri, run_id, params)
            tracker = cls(client, uri, run)
            if config.system_metrics:
                resumed, seconds = run_id is not None, config.system_metrics
                tracker._monitor = mlflow_internals.system_monitor(uri, run.info.run_id, seconds, resumed)
                tracker._monitor.start()
        return tracker

    @classmethod
    def reopen(cls, config: TrackingConfig, runs_folder: Path, run_id: str) -> Tracker:
        """A run of a process that died, to record how it ended."""
        store.quiet()
        uri = store.resolve(config.uri, runs_folder)
        store.wait(uri)
        from mlflow import MlflowClient

        with store.errors(uri, "reading a run"):
            client = MlflowClient(uri)
            return cls(client, uri, client.get_run(run_id))

    @property
    def info(self) -> dict[str, str]:
        """tracking_uri (without credentials), experiment and run_id, for `result.json`."""
        uri = address(self._uri)
        return {"tracking_uri": uri, "experiment": self._experiment, "run_id": self._id}

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers by name at a step, in batches. Safe to call from several threads. Steps up to the last
        one of a metric are dropped: a restarted worker repeats steps. Infinities become NaN, a gap in the
        curve: MLflow would store 1.8e308. While a server does not answer, points wait; `flush` and `finish`
        insist."""
        with self._lock:
            for name, value in values.items():
                metric = _metric(name, value, step)
                last = self._last.get(metric.key)
                if last is None or last.step < step:
                    self._last[metric.key] = metric
                    self._pending.append(metric)
            full = len(self._pending) >= BATCH and not self._outage
            if not full and not (self._pending and time.monotonic() >= self._due):
                return
            try:
                self._send()
            except TrackingError as error:
                self._due, self._outage = time.monotonic() + OUTAGE_SECONDS, True
                _log.warning("%d metric points wait, will try again: %s", len(self._pending), error)

    def scores(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers that hold from now on, also where the run has others of the same step: a run that is
        scored again, by another protocol, must not keep its old scores. MLflow goes by the last step, and of a
        step by the newest point."""
        from mlflow.entities import Metric

        with self._lock:
            for name, value in values.items():
                point = _metric(name, value, step)
                last = self._last.get(point.key, point)
                newer = max(point.timestamp, last.timestamp + (last is not point))
                point = Metric(point.key, point.value, newer, max(step, last.step))
                self._last[point.key] = point
                self._pending.append(point)

    def tags(self, tags: Mapping[str, str]) -> None:
        for key, value in ((key, public(value)) for key, value in tags.items()):
            self._insist(f"setting the tag {key}", partial(self._client.set_tag, self._id, key, value))

    def flush(self) -> None:
        with self._lock:
            self._insist(f"sending {len(self._pending)} metric points", self._send)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file, or what a folder holds, into the run's artifacts, below `folder` if given."""
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._insist(f"storing {path.name}", lambda: log(self._id, str(path), folder))

    def text(self, text: str, name: str) -> None:
        """Store a text as the artifact `name` (such as config.yaml), replacing an earlier one."""
        self._insist(f"storing {name}", lambda: self._client.log_text(self._id, public(text), name))

    def table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Store rows of equal keys as the artifact `name`.csv, which MLflow shows as a table."""
        self.text(as_csv(rows), f"{name}.csv")

    def dataset(self, folder: str, manifest: str, name: str, digest: str, context: str) -> None:
        """Record a folder of shards as a data set of the run. folder: absolute path or URI; manifest: the text
        of its manifest.json; digest: at most 36 characters that change with the data; context: train, test, ..."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described, folder = json.loads(public(manifest)), address(folder)
        profile = {key: value for key, value in described.items() if isinstance(value, int | float | str)}
        kind = folder.partition("://")[0] if "://" in folder else "local"
        dataset = Dataset(name, digest, kind, json.dumps({"uri": folder}), profile=json.dumps(profile))
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
        self._insist(f"recording the data set {name}", lambda: self._client.log_inputs(self._id, inputs))
        self.text(manifest, f"datasets/{context}/manifest.json")

    def model(
        self, name: str, folder: Path, params: Mapping[str, Any], metrics: Mapping[str, float], step: int
    ) -> str | None:
        """Store a folder (weights as safetensors, config) as a logged model of the run; returns its id, if any.
        The files are kept as they are: no pickle, no torch.export, which cannot trace sparse convolutions."""
        from mlflow.entities import LoggedModelOutput

        texts = {key: address(str(value)) for key, value in params.items()}

        def store_model() -> str:
            model_id: str = self._client.create_logged_model(
                self._experiment_id, name, source_run_id=self._id, params=texts, model_type="scenelift"
            ).model_id
            self._client.log_model_artifacts(model_id, str(folder))
            self._client.finalize_logged_model(model_id, "READY")
            self._client.log_outputs(self._id, [LoggedModelOutput(model_id, step)])
            return model_id

        model_id = self._insist(f"storing the model {name}", store_model)
        if model_id is not None:
            with self._lock:
                points = (_metric(key, value, step) for key, value in metrics.items())
                self._pending += [self._of_model(point, model_id) for point in points]
        self.flush()
        return model_id

    def register(self, model_id: str, name: str, alias: str | None) -> str | None:
        """Make a logged model a new version of a registered one; returns its address, or None without a server."""
        from mlflow.exceptions import MlflowException

        def register_model() -> str:
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"models:/{model_id}"
            version = self._client.create_model_version(name, source, self._id, model_id=model_id).version
            if alias is not None:
                self._client.set_registered_model_alias(name, alias, version)
            return f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}"

        return self._insist(f"registering the model {name}", register_model)

    def leave(self) -> None:
        """Send what waits; somebody else closes the run."""
        if self._monitor is not None:
            self._monitor.finish()
        self.flush()

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Send what waits and close the run."""
        self.leave()
        self._insist("closing the run", lambda: self._client.set_terminated(self._id, status))

    def _of_model(self, metric: Metric, model_id: str) -> Metric:
        """The metric tied to a model; the same point of the run, not a second one, if the run has it."""
        from mlflow.entities import Metric

        last = self._last.get(metric.key, metric)
        point = last if last.step == metric.step else metric
        self._last[metric.key] = point if last.step <= point.step else last
        return Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)

    def _send(self) -> None:
        while self._pending:
            batch = self._pending[:_SENT_AT_ONCE]
            with store.errors(self._uri, "sending metrics"):
                self._client.log_batch(self._id, metrics=batch)
            del self._pending[: len(batch)]
        self._due, self._outage = time.monotonic() + SECONDS, False


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of equal keys as CSV, with a header."""
    assert rows, "a table needs a row"
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _metric(name: str, value: float, step: int) -> Metric:
    from mlflow.entities import Metric

    number = float(value)
    key = re.sub(r"[^\w\-. :/]", "_", name)  # what MLflow allows
    return Metric(key, number if math.isfinite(number) else math.nan, int(time.time() * 1000), step)


def _continue(client: MlflowClient, uri: str, run_id: str, params: Mapping[str, Any]) -> Run:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(
            f"run {run_id} is not recorded at {address(uri)}; "
            "set --tracking.uri to where it was, or start a run of another name"
        ) from error
    if run.info.lifecycle_stage == "deleted":
        raise TrackingError(f"run {run_id} was deleted; run: mlflow runs restore --run-id {run_id}")
    client.update_run(run_id, status="RUNNING")
    _log_params(client, run, params)
    return run


def _log_params(client: MlflowClient, run: Run, params: Mapping[str, Any]) -> None:
    """Log the parameters the run has not; note those that differ as tags."""
    from mlflow.entities import Param

    texts = {key: address(str(value))[:_LONGEST_PARAMETER] for key, value in params.items()}
    fresh = [Param(key, text) for key, text in texts.items() if key not in run.data.params]
    for start in range(0, len(fresh), 100):
        client.log_batch(run.info.run_id, params=fresh[start : start + 100])
    for key, text in texts.items():
        if run.data.params.get(key, text) != text:
            client.set_tag(run.info.run_id, f"resumed/{key}", text)
