"""Starts a training on Ray Train: places the workers, survives lost ones, brings their events to the driver."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import ray

from scenelift import errors as scenelift_errors
from scenelift.cluster import ray_internals, resources
from scenelift.errors import TrainingError
from scenelift.io import storage
from scenelift.io.console import say
from scenelift.shards.datasource import CPUS
from scenelift.train import worker
from scenelift.train.checkpoints import Checkpoint
from scenelift.train.config import ScaleConfig
from scenelift.train.job import Job
from scenelift.train.preflight import Measured
from scenelift.train.state import Event
from scenelift.train.watch import EVERY, READING, Watch
from scenelift.train.worker import Board

GRACE = 30.0
"""Seconds that an interrupted training has for a checkpoint."""


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
        wanted, there = scale.max_workers, resources.total("GPU")
        scale = scale.on(there)
        if scale.max_workers < wanted:
            say(
                f"{there:g} GPU for {wanted} workers: {scale.max_workers} train there, with the same batch "
                "(--scale.gpus 0 trains on CPUs)"
            )
        gpus = scale.gpus or 0.0
        fits = scale.max_workers
        while fits > scale.min_workers and resources.places(scale.cpus or 1.0, gpus, scale.data_cpus) < fits:
            fits -= 1
        cpus = scale.cpus or resources.worker_cpus(fits, gpus, scale.data_cpus)
        resources.require(fits, cpus, gpus, scale.data_cpus)
        least = scale.min_workers if scale.min_workers < scale.max_workers else 0
        return cls(scale.max_workers, cpus, gpus, least, scale.data_cpus, scale.placement)


def launch(job: Job, resources: Resources, listen: Callable[[Event], None]) -> Checkpoint:
    """Train to the end and return the final checkpoint; continues from the newest one in the job's folder.

    listen: called in a thread of this process with every event of the workers, in order.
    Raises what the worker raised if it was a user's mistake, else TrainingError; `Measured` after a pre-flight.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    latest = job.checkpoints.latest()
    if latest is not None and latest.step == job.plan(resources.workers).steps and latest.intact():
        return _final(job, None)
    elastic = resources.min_workers > 0
    number = (resources.min_workers, resources.workers) if elastic else resources.workers
    each = {"CPU": resources.cpus} | ({"GPU": resources.gpus} if resources.gpus else {})
    board = Board()
    filesystem, beside = storage.resolve(storage.join(storage.split(str(job.folder))[0], "ray"))
    trainer = TorchTrainer(
        worker.run,
        train_loop_config={"job": ray.put(job), "most": resources.workers, "board": board},
        scaling_config=ScalingConfig(
            num_workers=number,
            use_gpu=resources.gpus > 0,
            resources_per_worker=each,
            placement_strategy=resources.placement.upper(),
        ),
        torch_config=ray_internals.torch_config(),
        run_config=RunConfig(
            # Ours are the checkpoints, so every attempt may have a fresh name.
            name=f"attempt-{uuid.uuid4().hex[:8]}",
            storage_path=beside,
            storage_filesystem=None if storage.is_local(filesystem) else filesystem,
            # Where the number may change, each try to start more workers than there are counts as one.
            failure_config=FailureConfig(
                max_failures=job.retries,
                controller_failure_limit=max(5, job.retries) if elastic else 3,
            ),
        ),
    )
    spilled = ray_internals.spilled()
    reserve = ray_internals.reserve_data_cpus if elastic else contextlib.nullcontext
    with _Listener(board, listen) as listener, reserve(resources.data_cpus):
        failure = _fit(trainer, board, listener)
    if listener.left:
        sys.exit(0)
    moved = ray_internals.spilled() - spilled
    if moved > 0:
        latest = job.checkpoints.latest()
        listen({"kind": "spilled", "step": latest.step if latest else 0, "bytes": moved})
    said = board.mistake()
    if said is not None:
        raise getattr(scenelift_errors, said["type"], TrainingError)(said["message"])
    if failure is None and job.loop.preflight_steps:
        raise Measured
    return _final(job, failure)


def _final(job: Job, failure: str | None) -> Checkpoint:
    """What the training leaves, unless it failed."""
    final = None if failure is not None else job.final
    if final is None:
        raise TrainingError(f"the training failed {job.retries + 1} times: {failure}")
    return final


def _fit(trainer: Any, board: Board, listener: _Listener) -> str | None:
    """Run the trainer; the last line of what went wrong, or None. An interrupted training may write a checkpoint.

    Ray Train takes Ctrl-C for itself in the main thread, and calls an interrupted training a failed one.
    """
    if threading.current_thread() is not threading.main_thread():  # of a sweep, which Ray Tune interrupts
        return _failure(trainer)
    failure: Future[str | None] = Future()
    threading.Thread(target=lambda: failure.set_result(_failure(trainer)), daemon=True).start()
    try:
        return failure.result()
    except KeyboardInterrupt:
        _stop(board, listener, failure)
        raise


def _failure(trainer: Any) -> str | None:
    try:
        trainer.fit()
    except (Exception, SystemExit) as error:  # Ray wraps whatever a worker raised in types of its own
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[-1] if lines else type(error).__name__
    return None


def _stop(board: Board, listener: _Listener, training: Future[str | None]) -> None:
    """Let a training that has begun end behind a checkpoint, for `GRACE` seconds."""
    if listener.heard < math.inf:
        say(f"interrupted: the training writes a checkpoint, within {GRACE:.0f} s; again to leave at once")
        board.stop()
        with contextlib.suppress(TimeoutError):
            training.result(timeout=GRACE)


class _Listener:
    """A thread that takes events off the board until the `with` ends, and notices where none can come."""

    def __init__(self, board: Board, listen: Callable[[Event], None]) -> None:
        self.board, self.listen = board, listen
        self.heard = math.inf  # when an event came last
        self.watch, self.looked = Watch(), time.monotonic()
        self.stopped = threading.Event()
        self.left = False  # Ray Tune ends a trial by SystemExit where it reports, here in a thread of its own
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Listener:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()
        if not self.left:
            self._take()

    def _run(self) -> None:
        try:
            while not self.stopped.wait(0.3):
                self._take()
                self._watch()
        except SystemExit:
            self.left = True
            self.board.stop()

    def _take(self) -> None:
        for event in self.board.drain():
            self.heard = time.monotonic()
            self.listen(event)

    def _watch(self) -> None:
        """Say, once each time, that the training stands still: Ray waits without a word."""
        now = time.monotonic()
        if now - self.looked < EVERY:
            return
        self.looked = now
        stalled = self.watch.stalled(self.board.beats(), now)
        if not stalled:
            return
        if any(beat.doing == READING for beat in stalled) and ray_internals.most_free() < CPUS:
            self.listen({"kind": "starved", "step": self.watch.step})
            return
        since = time.strftime("%H:%M", time.localtime(time.time() - (now - self.watch.since)))
        workers = [beat.told(self.watch.silence) for beat in stalled]
        self.listen({"kind": "stalled", "step": self.watch.step, "since": since, "workers": workers})
