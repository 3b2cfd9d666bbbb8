"""The function that Ray Train runs in every worker, and the events that workers send to the driver. Ray's
controller imports it too, so torch and the method are imported in workers only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scenelift.errors import SceneliftError
from scenelift.train.watch import ENDED, Beat, Beating

if TYPE_CHECKING:
    from scenelift.train.job import Job
    from scenelift.train.state import Worker

T = TypeVar("T")


def run(config: dict[str, Any]) -> None:
    """Fetch the job and train it."""
    job, board = ray.get(config["job"]), config["board"]
    from ray import train as ray_train

    from scenelift.train.loop import train

    if board.mistake() is not None:
        return
    try:
        context = ray_train.get_context()
        with Beating(context.get_world_rank(), context.get_world_size(), board.beat) as beating:
            worker = _worker(job, config["most"], board, beating)
            train(job.build(), worker)
    except SceneliftError as error:
        board.report_fatal(type(error).__name__, str(error))
        raise


def _worker(job: Job, most: int, board: Board, beating: Beating) -> Worker:
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
        post=board.put,
        validate=validate,
        report=ray_train.report,
        beat=beating,
        stopping=board.stopping,
        smaller_samples=job.smaller_samples,
        callbacks=job.callbacks,
    )


def _stream(job: Job) -> Callable[..., Iterator[Any]]:
    """The stream of the job's samples, by their indices in the plan."""
    if job.frames is None:
        return job.samples.stream
    import numpy as np

    chosen = np.asarray(job.frames, np.int64)
    return lambda indices, *rest: job.samples.stream(chosen[indices], *rest)


class _Mailbox:  # the actor behind `Board`
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.latest: dict[int, tuple[float, Beat]] = {}
        self.wrong: dict[str, str] | None = None
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def stopping(self) -> bool:
        return self.stopped

    def report_fatal(self, mistake: dict[str, str]) -> None:
        self.wrong = self.wrong or mistake

    def mistake(self) -> dict[str, str] | None:
        return self.wrong

    def beat(self, beat: Beat) -> None:
        self.latest[beat.rank] = time.monotonic(), beat

    def beats(self) -> list[Beat]:
        now, kept = time.monotonic(), [pair for _, pair in sorted(self.latest.items())]
        workers = max(kept, key=lambda pair: pair[0])[1].workers if kept else 0  # their number may change
        aged = [replace(beat, age=now - heard) for heard, beat in kept]
        return [beat for beat in aged if beat.rank < workers and beat.doing != ENDED]

    def put(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def drain(self) -> list[dict[str, Any]]:
        events, self.events = self.events, []
        return events


class Board:
    """Events of workers for the driver; a handle that pickles, in front of a Ray actor."""

    def __init__(self) -> None:
        # On the driver's machine: an actor without CPUs could be placed on a spot machine and vanish with it.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()

    def put(self, event: dict[str, Any]) -> None:
        """Send an event of plain values; does not wait."""
        self._mailbox.put.remote(event)

    def beat(self, beat: Beat) -> None:
        """Send what a worker does; does not wait."""
        self._mailbox.beat.remote(beat)

    def beats(self) -> list[Beat]:
        """The latest of each rank, with their ages."""
        return self._ask("beats", [])

    def report_fatal(self, kind: str, message: str) -> None:
        """Send a user's mistake, which no retry can mend; returns when it has arrived."""
        ray.get(self._mailbox.report_fatal.remote({"type": kind, "message": message}))

    def mistake(self) -> dict[str, str] | None:
        """The first mistake that was sent: type and message."""
        return self._ask("mistake", None)

    def stop(self) -> None:
        """Ask the workers to write a checkpoint and to end."""
        self._mailbox.stop.remote()

    def stopping(self) -> bool:
        """Whether the driver wants the training to stop."""
        return self._ask("stopping", False)

    def drain(self) -> list[dict[str, Any]]:
        """Events since the last call, each worker's in order."""
        return self._ask("drain", [])

    def _ask(self, method: str, otherwise: T) -> T:
        """The mailbox's answer; `otherwise` if the actor has died."""
        try:
            return ray.get(getattr(self._mailbox, method).remote())
        except ray.exceptions.RayError:
            return otherwise
