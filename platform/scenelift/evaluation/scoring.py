"""Scores of samples: by a Ray Data job over all shards, and during training on held-out scenes (validation).

Choices between trainings (by a person or by a sweep) use held-out training scenes, never the test scenes. On CPUs
Ray's pool of processes scores, which keeps its imports; on GPUs actors do, which give the GPUs back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scenelift.cluster import connect as cluster
from scenelift.errors import ConfigError, SceneliftError
from scenelift.evaluation.config import ValidationConfig
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


Counts = dict[str, NDArray[Any]]
"""Arrays by name; the metrics follow from their sums over all held-out samples."""
S_contra = TypeVar("S_contra", contravariant=True)


class Measure(Protocol[S_contra]):
    """Metrics of a student on held-out samples."""

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics; by convention they begin with `validation/`."""

    def count(self, student: Any, samples: Iterable[S_contra]) -> Counts:
        """The counts of one worker on its share of the samples; the same arrays for any share."""

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The metrics by name, from the sums of all workers' counts."""


@dataclass(frozen=True)
class Validation(Generic[S]):
    """Samples that are scored at the end of epochs, each training worker taking its share."""

    samples: Samples[S]
    chosen: tuple[int, ...]
    """Indices of the samples to score."""
    every: int
    """Epochs between two validations."""
    measure: Measure[S]

    def __call__(
        self, student: nn.Module, epoch: int, epochs: int, rank: int = 0, workers: int = 1
    ) -> dict[str, float]:
        """Metrics after N epochs, the same on every rank; none where none are due. All ranks call it together."""
        if epoch % self.every and epoch < epochs:
            return {}
        training = student.training
        student.eval()
        share = self.chosen[rank::workers]
        counts = self.measure.count(student, (self.samples.read(index) for index in share))
        student.train(training)
        if workers > 1:
            device = next(student.parameters()).device
            sums = {name: torch.from_numpy(array).to(device) for name, array in counts.items()}
            for total in sums.values():
                torch.distributed.all_reduce(total)
            counts = {name: total.cpu().numpy() for name, total in sums.items()}
        return self.measure.metrics(counts)


def hold_out(
    config: ValidationConfig, samples: Samples[S], used: Sequence[int] | None = None
) -> tuple[Sequence[int] | None, tuple[int, ...]]:
    """Indices to train on, of the `used` samples (None: all), and indices to score on, maybe none. Whole scenes are
    held out. Raises ConfigError if nothing is left on either side."""
    if not config.holdout_every:
        return used, ()
    names = list(dict.fromkeys(samples.scenes))
    held = set(names[config.holdout_every - 1 :: config.holdout_every])
    kept = [i for i in (range(len(samples)) if used is None else used) if samples.scenes[i] not in held]
    if not held or not kept:
        few = len(names) < 2
        advice = "use more data" if few else f"write --validation.holdout_every {min(5, len(names))}"
        raise ConfigError(
            f"validation.holdout_every {config.holdout_every} cannot be taken from the {len(names)} scenes of "
            f"{samples.path} such that both sides have some; {advice}"
        )
    out = np.array([i for i, scene in enumerate(samples.scenes) if scene in held])
    chosen = out[np.linspace(0, len(out) - 1, min(config.max_samples, len(out))).astype(int)]
    return kept, tuple(chosen.tolist())
