"""Whole jobs in this process: sharding, training and scoring as our own code does them, without starting Ray.

One process stands for all training workers of a job, as an elastic job's last one does: batches and micro-batches
stay what they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from scenelift.cluster import connect
from scenelift.evaluation import plots, scoring
from scenelift.runs import run as running
from scenelift.shards import write
from scenelift.shards.read import Samples
from scenelift.train.checkpoints import Checkpoint
from scenelift.train.job import Job
from scenelift.train.launch import Resources
from scenelift.train.loop import train
from scenelift.train.state import Worker
from trainables.common import drawing
from trainables.common import scoring as segmentation
from trainables.ground import task as ground
from trainables.phrases import task as phrases


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what would start Ray, and leave the pictures out: they take longer than such trainings."""
    monkeypatch.setattr(connect, "connect", lambda *args, **more: contextlib.nullcontext())
    monkeypatch.setattr(write, "_run", _write)
    monkeypatch.setattr(Resources, "fit", classmethod(_fit))
    monkeypatch.setattr(running, "launch", _launch)
    for module in (segmentation, ground, phrases):
        monkeypatch.setattr(module, "score", _score)
    for module, name in (
        (drawing, "draw"),
        (ground.pictures, "draw"),
        (phrases.pictures, "draw"),
        (plots, "curves"),
    ):
        monkeypatch.setattr(module, name, lambda *args, **more: None)


def _write(job: Any, chunks: Sequence[Any], progress: bool) -> Iterator[Any]:
    for number, chunk in enumerate(chunks):
        yield write._make(job, number, list(chunk))


def _fit(cls: type[Resources], scale: Any) -> Resources:
    return cls(scale.max_workers, 1.0, 0.0)


def _launch(job: Job, resources: Resources, listen: Callable[[Any], None]) -> Checkpoint:
    chosen = np.arange(len(job.samples)) if job.frames is None else np.asarray(job.frames)

    def stream(indices: Any, collate: Any, size: int) -> Iterator[Any]:
        for number, start in enumerate(range(0, len(indices), size)):
            yield collate(job.samples.read_many(chosen[indices[start : start + size]]), number)

    plan = job.plan(1, resources.workers)
    train(
        job.build(),
        Worker(
            plan, job.optimizer, job.checkpoints, job.collate, stream, post=listen, validate=job.validation
        ),
    )
    assert job.final is not None
    return job.final


def _score(
    samples: Samples[Any],
    build: scoring.Build[Any, Any],
    title: str,
    workers: int = 1,
    gpus: float = 0.0,
    group: int = 1,
) -> Iterator[Any]:
    scorer = build(torch.device("cpu"))
    for start in range(0, len(samples), group):
        yield scorer(samples.read_many(range(start, min(len(samples), start + group))))
