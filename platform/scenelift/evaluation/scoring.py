"""Runs a scorer over all samples of a folder of shards as a Ray Data job. On CPUs Ray's pool of processes does
it, which keeps its imports for a second scoring; on GPUs actors do, which give the GPU back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from scenelift.cluster import connect as cluster
from scenelift.errors import SceneliftError
from scenelift.io.console import Meter
from scenelift.samples.kind import S
from scenelift.shards.read import Samples

R = TypeVar("R")
Scorer = Callable[[list[S]], R]
"""Some consecutive samples -> whatever is to be known of them; it must pickle."""
Build = Callable[[torch.device], Scorer[S, R]]
"""Makes a scorer on a device, inside the process that scores."""
_Columns = dict[str, NDArray[Any]]


def score(
    samples: Samples[S],
    build: Build[S, R],
    title: str,
    workers: int = 1,
    gpus: float = 0.0,
    group: int = 1,
) -> Iterator[R]:
    """The scorer's result for each `group` of consecutive samples, in their order, with progress. gpus: of each
    worker; 0: compute on CPUs. The groups and their order depend on nothing else, so that sums of results
    repeat to the last digit. A scorer refuses samples by raising one of our errors."""
    import ray.data

    groups = -(-len(samples) // group)
    scorer = (samples, build, group, gpus > 0)
    work: dict[str, Any] = {"fn": _score_in_pool, "fn_args": (uuid.uuid4().hex, scorer)}
    if gpus:
        work = {"fn": _Worker, "fn_constructor_args": scorer, "num_gpus": gpus}
    rows = ray.data.range(groups, override_num_blocks=groups).map_batches(
        **work, batch_size=1, concurrency=workers, num_cpus=1.0
    )
    early: dict[int, R] = {}  # results that came before their turn
    turn = 0
    with cluster.user_errors(), Meter(title, len(samples), f"{samples.kind.name}s") as meter:
        for row in rows.iter_rows():
            if isinstance(row["result"], SceneliftError):
                raise row["result"]
            early[int(row["id"])] = row["result"]
            meter.to(min(len(samples), (turn + len(early)) * group))
            while turn in early:
                yield early.pop(turn)
                turn += 1


class _Worker:
    """Numbers of groups -> the scorer's result for each."""

    def __init__(self, samples: Samples[Any], build: Build[Any, Any], group: int, gpu: bool) -> None:
        self.samples, self.group = samples, group
        self.scorer = build(torch.device("cuda" if gpu else "cpu"))

    def __call__(self, batch: _Columns) -> _Columns:
        results = np.empty(len(batch["id"]), object)
        for row, number in enumerate(batch["id"].tolist()):
            end = min(len(self.samples), (number + 1) * self.group)
            try:
                results[row] = self.scorer(self.samples.read_many(range(number * self.group, end)))
            except SceneliftError as error:  # for the driver to raise: Ray Data would keep its text only
                results[row] = error
        return {"id": batch["id"], "result": results}


_in_this_process: dict[str, _Worker] = {}
"""The worker of the latest call of `score` that this process worked for."""


def _score_in_pool(batch: _Columns, call: str, arguments: tuple[Any, ...]) -> _Columns:
    if call not in _in_this_process:
        _in_this_process.clear()
        _in_this_process[call] = _Worker(*arguments)
    return _in_this_process[call](batch)
