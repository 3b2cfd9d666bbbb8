"""The function that Ray Train runs in every worker: as light as can be, since Ray's controller imports it too.

The job lies in Ray's object store, so that only workers pay the seconds that torch and the method take to import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scenelift.errors import SceneliftError

if TYPE_CHECKING:
    from scenelift.train.job import Job
    from scenelift.train.state import Worker


def run(config: dict[str, Any]) -> None:
    """Fetch the job and train; most: workers that the run may come to have."""
    job, board = ray.get(config["job"]), config["board"]
    from scenelift.train.loop import train

    if board.mistake() is not None:
        return
    try:
        worker = _worker(job, config["most"], board.put)
        train(job.build(), worker)
    except SceneliftError as error:
        board.report_fatal(type(error).__name__, str(error))
        raise


def _worker(job: Job, most: int, post: Callable[[dict[str, Any]], None]) -> Worker:
    """What this process is given."""
    import torch
    from ray import train as ray_train
    from ray.train.torch import get_device

    from scenelift.train.state import Worker

    context = ray_train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    validate = None if job.validation is None else partial(job.validation, rank=rank, workers=workers)
    return Worker(
        plan=job.plan(workers, most),
        optimizer=job.optimizer,
        checkpoints=job.checkpoints,
        collate=job.collate,
        stream=_stream(job),
        rank=rank,
        device=torch.device(get_device()),
        post=post,
        validate=validate,
        report=ray_train.report,
        smaller_samples=job.smaller_samples,
        callbacks=job.callbacks,
    )


def _stream(job: Job) -> Callable[..., Iterator[Any]]:
    """The stream of the samples that the job trains on, numbered from 0 as the plan numbers them."""
    import numpy as np

    from scenelift.shards.read import open_samples

    shards = open_samples(job.shards, job.kind)
    if job.frames is None:
        return shards.stream
    chosen = np.asarray(job.frames, np.int64)
    return lambda indices, *rest: shards.stream(chosen[indices], *rest)


class _Mailbox:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.wrong: dict[str, str] | None = None

    def report_fatal(self, mistake: dict[str, str]) -> None:
        self.wrong = self.wrong or mistake

    def mistake(self) -> dict[str, str] | None:
        return self.wrong

    def put(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def drain(self) -> list[dict[str, Any]]:
        events, self.events = self.events, []
        return events


class Board:
    """Where workers leave events for the driver: a handle that pickles, in front of a Ray actor."""

    def __init__(self) -> None:
        # Beside the driver: what needs no CPU may come to lie anywhere, and a spot machine takes it along.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()

    def put(self, event: dict[str, Any]) -> None:
        """Leave an event of plain values; returns at once."""
        self._mailbox.put.remote(event)

    def report_fatal(self, kind: str, message: str) -> None:
        """Leave a user's mistake, which no new attempt can mend; returns when it has arrived."""
        ray.get(self._mailbox.report_fatal.remote({"type": kind, "message": message}))

    def mistake(self) -> dict[str, str] | None:
        """The first mistake that was left: type and message."""
        try:
            return ray.get(self._mailbox.mistake.remote())
        except ray.exceptions.RayError:
            return None

    def drain(self) -> list[dict[str, Any]]:
        """Events since the last call, those of one worker in its order; none if the actor has died."""
        try:
            return ray.get(self._mailbox.drain.remote())
        except ray.exceptions.RayError:
            return []
