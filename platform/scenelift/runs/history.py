"""Earlier runs: which one trained a student, and the finished ones as MLflow records them. Nothing is written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenelift.config.build import experiment_identity, flatten
from scenelift.io import storage
from scenelift.io.storage import Location
from scenelift.runs.folder import Run
from scenelift.tracking import store

RANDOM = "random"
"""Method of an untrained student."""
UNKNOWN = "unknown"
"""Method of a student outside a run's folder."""


@dataclass(frozen=True)
class Origin:
    """The run that trained a student, from the files of its folder."""

    method: str
    """Such as distill or ppkt; `RANDOM` before the first step, `UNKNOWN` outside a run's folder."""
    run_id: str | None = None
    """Its MLflow run."""
    tags: Mapping[str, str] | None = None
    """Tags of that run."""
    config: Mapping[str, Any] | None = None
    """Its flattened config."""

    @classmethod
    def of(cls, student: Location) -> Origin:
        """The origin of the student in runs/NAME/student, .../checkpoints/step-N or .../initial."""
        parent, name = storage.split(storage.absolute(student))
        runs = [Run(folder) for folder in (parent, storage.split(parent)[0])]
        run, identity = next(((run, run.identity) for run in runs if run.identity), (None, None))
        if run is None or identity is None:
            return cls(UNKNOWN)
        tags = identity.get("tags", {})
        method = tags.get("method") or tags.get("trainable") or identity.get("experiment", UNKNOWN)
        config = run.settings
        return cls(RANDOM if name == "initial" else method, identity["run_id"], tags, flatten(config))

    @property
    def version(self) -> str:
        """The method and a hash of the experiment's settings, without the seed."""
        if self.config is None:
            return self.method
        text = json.dumps(experiment_identity(self.config), sort_keys=True)
        return f"{self.method}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def tag(self, name: str, otherwise: str) -> str:
        """A tag of the run."""
        return (self.tags or {}).get(name, otherwise)


BOTH = "+"
"""Between the contexts of a data set that has two."""
PAGE = 1000
"""Runs per request."""


@dataclass(frozen=True)
class Data:
    """Shards that a run read."""

    dataset: str
    """Name and release, such as nuscenes v1.0-mini."""
    split: str
    digest: str
    """Hash of the manifest."""


@dataclass(frozen=True)
class Finished:
    """One finished run."""

    run_id: str
    name: str
    experiment: str
    ended: int
    """Time, milliseconds since 1970."""
    params: Mapping[str, str]
    """The flattened config, with the changes of a resumed run."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """Last value of each."""
    data: Mapping[str, Data]
    """By context: train, test."""


def read(uri: str) -> tuple[list[Finished], dict[str, Counter[str]]]:
    """Finished runs, the oldest first, and for each experiment the number of other runs by status. uri: from
    `store.resolve`. TrackingError if it does not answer or holds no runs."""
    store.quiet()
    store.require(uri)
    from mlflow import MlflowClient

    with store.errors(uri, "reading runs"), store.one_at_a_time(uri):
        client = MlflowClient(uri)
        names = {each.experiment_id: each.name for each in client.search_experiments()}
        page = client.search_runs(list(names), max_results=PAGE)
        runs = list(page)
        while page.token:
            page = client.search_runs(list(names), max_results=PAGE, page_token=page.token)
            runs += page
    others: dict[str, Counter[str]] = {name: Counter() for name in names.values()}
    done = []
    for run in runs:
        experiment = names[run.info.experiment_id]
        if run.info.status == "FINISHED":
            done.append(_finished(run, experiment))
        else:
            others[experiment][str(run.info.status).lower()] += 1
    return sorted(done, key=lambda run: run.ended), others


def _finished(run: Any, experiment: str) -> Finished:
    tags = dict(run.data.tags)
    resumed = {key: value for key, value in tags.items() if key.startswith("resumed/")}
    changed = {key.removeprefix("resumed/"): value for key, value in resumed.items()}
    return Finished(
        run_id=run.info.run_id,
        name=run.info.run_name,
        experiment=experiment,
        ended=run.info.end_time or 0,
        params={**run.data.params, **changed},
        tags=tags,
        metrics=dict(run.data.metrics),
        data=_data(run.inputs.dataset_inputs if run.inputs else []),
    )


def _data(inputs: Sequence[Any]) -> dict[str, Data]:
    data: dict[str, Data] = {}
    for each in inputs:
        context = next((tag.value for tag in each.tags if tag.key == "mlflow.data.context"), "")
        profile = json.loads(each.dataset.profile or "{}")
        dataset = f"{profile.get('dataset', each.dataset.name)} {profile.get('dataset_version', '')}".strip()
        read = Data(dataset, str(profile.get("split", "")), each.dataset.digest)
        data |= dict.fromkeys(context.split(BOTH), read)
    return data
