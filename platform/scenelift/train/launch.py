"""Starts a training on Ray Train: places the workers, survives lost ones, brings their events to the driver."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ray
import torch

from scenelift import errors as scenelift_errors
from scenelift.cluster import connect as cluster
from scenelift.errors import SceneliftError, TrainingError
from scenelift.io import folders, storage
from scenelift.io.storage import Location
from scenelift.samples.frame_kind import FRAME
from scenelift.samples.kind import Kind
from scenelift.shards.datasource import CPUS
from scenelift.shards.read import open_samples
from scenelift.train import worker
from scenelift.train.checkpoints import Checkpoint, Checkpoints
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from scenelift.train.events import Board
from scenelift.train.loop import Event, Worker, train
from scenelift.train.method import Batch, Method
from scenelift.train.plan import Plan
from scenelift.train.preflight import Measured

SILENCE = 60.0
"""Seconds without an event of the workers after which it is looked whether reading has a CPU."""


@dataclass(frozen=True)
class Resources:
    """What one worker gets on this cluster."""

    workers: int
    """The most, where their number may change."""
    cpus: float
    gpus: float
    min_workers: int = 0
    """Fewest workers that may train; 0: all."""
    data_cpus: float = 1.0
    """CPUs that are left to Ray Data."""
    placement: Literal["pack", "spread"] = "pack"

    @property
    def device(self) -> str:
        """What the workers compute on."""
        return "cuda" if self.gpus else "cpu"

    @classmethod
    def fit(cls, scale: ScaleConfig) -> Resources:
        """Fill in what the config leaves open; ClusterError if it cannot all be placed."""
        gpus = scale.gpus
        if gpus is None:
            gpus = 1.0 if cluster.total("GPU") >= scale.min_workers else 0.0
        fits = scale.max_workers
        while fits > scale.min_workers and cluster.places(scale.cpus or 1.0, gpus, scale.data_cpus) < fits:
            fits -= 1
        cpus = scale.cpus or cluster.worker_cpus(fits, gpus, scale.data_cpus)
        cluster.require(fits, cpus, gpus, scale.data_cpus, option="scale.workers")
        least = scale.min_workers if scale.min_workers < scale.max_workers else 0
        return cls(scale.max_workers, cpus, gpus, least, scale.data_cpus, scale.placement)


@dataclass(frozen=True)
class Job:
    """One training, as it travels to the workers."""

    shards: str
    """Folder of the training shards."""
    folder: Location
    """The run's checkpoint folder, the same for all workers: an absolute path or a URI."""
    loop: LoopConfig
    optimizer: OptimizerConfig
    collate: Callable[[Sequence[Any], int], Batch]
    """(samples, epoch) -> a batch; what it draws comes from these and its own settings."""
    build: Callable[[], Method]
    """Makes the method inside a worker, with the same weights in each."""
    retries: int = 3
    frames: Sequence[int] | None = None
    """Which samples of the shards are trained on; None: all."""
    validation: Callable[..., dict[str, float]] | None = None
    """What is scored at the end of epochs: (student, epochs done, epochs in all, rank=, workers=) -> metrics,
    the same on all ranks. Every rank calls it."""
    kind: Kind[Any] = FRAME
    """Of the samples in the shards."""

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder, self.loop.keep)

    def plan(self, workers: int, most: int = 0) -> Plan:
        """Which frames each step sees, with so many workers of `most`."""
        frames = len(open_samples(self.shards, self.kind)) if self.frames is None else len(self.frames)
        return Plan(frames, self.loop, workers, most)


def build_from(build: Callable[[Path], Method], initial: str) -> Method:
    """The method in a worker, around the student that a folder or URI holds."""
    with folders.fetched(initial) as folder:
        return build(folder)


def launch(job: Job, resources: Resources, listen: Callable[[Event], None]) -> Checkpoint:
    """Train to the end and return the last checkpoint; continues from the newest one in the job's folder.

    listen: called in a thread of this process with every event of the workers, in order.
    Raises what the worker raised if it was a user's mistake, else TrainingError; `Measured` after a pre-flight.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    done = job.checkpoints.latest()
    if done is not None and done.step == job.plan(resources.workers).steps:
        return done
    each = {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})
    board = Board()
    filesystem, beside = storage.resolve(storage.join(storage.split(str(job.folder))[0], "ray"))
    trainer = TorchTrainer(
        worker.run,
        train_loop_config={"job": ray.put(job), "most": resources.workers, "board": board},
        scaling_config=ScalingConfig(
            num_workers=(resources.min_workers, resources.workers)
            if resources.min_workers
            else resources.workers,
            use_gpu=resources.gpus > 0,
            resources_per_worker=each,
            placement_strategy=resources.placement.upper(),
        ),
        run_config=RunConfig(
            # Ours are the checkpoints, so every attempt may have a fresh name.
            name=f"attempt-{uuid.uuid4().hex[:8]}",
            storage_path=beside,
            storage_filesystem=None if storage.is_local(filesystem) else filesystem,
            # Where the number may change, each try to start more workers than there are counts as one.
            failure_config=FailureConfig(
                max_failures=job.retries,
                controller_failure_limit=max(5, job.retries) if resources.min_workers else 3,
            ),
        ),
    )
    spilled = cluster.spilled()
    reading = (
        cluster.reserve_data_cpus(resources.data_cpus) if resources.min_workers else contextlib.nullcontext()
    )
    with _Listener(board, listen), reading:
        failure = _fit(trainer)
    _tell_spilled(cluster.spilled() - spilled, job, listen)
    _raise_mistake(board)
    if failure is None and job.loop.preflight_steps:
        raise Measured
    latest = job.checkpoints.latest()
    if failure is not None or latest is None:
        raise TrainingError(f"the training failed {job.retries + 1} times: {failure}")
    return latest


def _fit(trainer: Any) -> str | None:
    """Run the trainer; the last line of what went wrong, or None."""
    try:
        trainer.fit()
    except KeyboardInterrupt:
        raise
    except Exception as error:  # Ray wraps whatever a worker raised in types of its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1] if lines else type(error).__name__
    return None


def _tell_spilled(size: int, job: Job, listen: Callable[[Event], None]) -> None:
    """Say that the object store was too small, if it was: bytes that were moved to disk and read again."""
    if size > 0:
        latest = job.checkpoints.latest()
        listen({"kind": "spilled", "step": latest.step if latest else 0, "bytes": size})


def _raise_mistake(board: Board) -> None:
    said = board.mistake()
    if said is not None:
        raise getattr(scenelift_errors, said["type"], TrainingError)(said["message"])


class _Listener:
    """A thread that takes events off the board until the `with` ends, and notices where none can come."""

    def __init__(self, board: Board, listen: Callable[[Event], None]) -> None:
        self.board, self.listen = board, listen
        self.heard, self.step = math.inf, 0  # when, and of which step, an event came last
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()
        self._take()

    def _run(self) -> None:
        while not self.stopped.wait(0.3):
            self._take()
            self._watch()

    def _take(self) -> None:
        for event in self.board.drain():
            self.heard, self.step = time.monotonic(), event["step"]
            self.listen(event)

    def _watch(self) -> None:
        """Say, once, that training waits for data which no machine has a CPU to read: Ray waits without a word."""
        if time.monotonic() - self.heard > SILENCE and cluster.most_free() < CPUS:
            self.heard = math.inf
            self.listen({"kind": "starved", "step": self.step})


def train_worker(job: Job, most: int, board: Board) -> None:
    """What every worker of Ray Train does; most: workers that the run may come to have."""
    from ray import train as ray_train
    from ray.train.torch import get_device

    if board.mistake() is not None:
        return
    context = ray_train.get_context()
    try:
        mine = Worker(
            plan=job.plan(context.get_world_size(), most),
            optimizer=job.optimizer,
            checkpoints=job.checkpoints,
            collate=job.collate,
            stream=_stream(job),
            rank=context.get_world_rank(),
            device=torch.device(get_device()),
            post=board.put,
            validate=_validate(job, context.get_world_rank(), context.get_world_size()),
            report=ray_train.report,
        )
        train(job.build(), mine)
    except SceneliftError as error:
        board.report_fatal(type(error).__name__, str(error))
        raise


def _validate(job: Job, rank: int, workers: int) -> Callable[..., dict[str, float]] | None:
    return None if job.validation is None else partial(job.validation, rank=rank, workers=workers)


def _stream(job: Job) -> Callable[..., Iterator[Any]]:
    """The stream of the samples that the job trains on, numbered from 0 as the plan numbers them."""
    shards = open_samples(job.shards, job.kind)
    if job.frames is None:
        return shards.stream
    chosen = np.asarray(job.frames, np.int64)
    return lambda indices, *rest: shards.stream(chosen[indices], *rest)
