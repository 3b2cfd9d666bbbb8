"""Finished runs as MLflow holds them: config, tags, scores and data. Nothing is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenelift.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient

PAGE = 1000
"""Runs asked for at once."""


@dataclass(frozen=True)
class Data:
    """Shards that a run read."""

    dataset: str
    """Name and release, such as nuscenes v1.0-mini."""
    split: str
    digest: str
    """Of the manifest: other shards have another."""


@dataclass(frozen=True)
class Finished:
    """One finished run."""

    run_id: str
    name: str
    experiment: str
    ended: int
    """Time, milliseconds since 1970."""
    params: Mapping[str, str]
    """The flattened config; what a resumed run changed, as changed."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """Last value of each."""
    data: Mapping[str, Data]
    """By context: train, test."""


def read(uri: str) -> tuple[list[Finished], dict[str, Counter[str]]]:
    """Finished runs, the oldest first, and by experiment how many others there are of each status.

    uri: as `tracking_store.resolve` gives it. TrackingError if it does not answer or nothing is there.
    """
    store.quiet()
    store.require(uri)
    from mlflow import MlflowClient

    with store.errors(uri, "reading runs"), store.one_at_a_time(uri):
        client = MlflowClient(uri)
        names = {found.experiment_id: found.name for found in client.search_experiments()}
        runs = _search(client, list(names))
    others: dict[str, Counter[str]] = {name: Counter() for name in names.values()}
    done = []
    for run in runs:
        experiment = names[run.info.experiment_id]
        if run.info.status == "FINISHED":
            done.append(_finished(run, experiment))
        else:
            others[experiment][str(run.info.status).lower()] += 1
    return sorted(done, key=lambda run: run.ended), others


def _search(client: MlflowClient, experiments: list[str]) -> list[Any]:
    runs: list[Any] = []
    token = None
    while True:
        page = client.search_runs(experiments, max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _finished(run: Any, experiment: str) -> Finished:
    tags = dict(run.data.tags)
    changed = {
        key.removeprefix("resumed/"): value for key, value in tags.items() if key.startswith("resumed/")
    }
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
    found = {}
    for each in inputs:
        context = next((tag.value for tag in each.tags if tag.key == "mlflow.data.context"), "")
        profile = json.loads(each.dataset.profile or "{}")
        dataset = f"{profile.get('dataset', each.dataset.name)} {profile.get('dataset_version', '')}".strip()
        found[context] = Data(dataset, str(profile.get("split", "")), each.dataset.digest)
    return found
