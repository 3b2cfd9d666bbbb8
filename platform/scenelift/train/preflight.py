"""Estimates of a training's time, memory and disk from its first steps; it is refused if it cannot fit. The
workers measure, as the driver may have no GPU, and send the estimate to the driver as an event."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch
from torch import Tensor

from scenelift.errors import ClusterError, ConfigError, StorageError, first_line
from scenelift.io import storage
from scenelift.io.storage import megabytes
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import WARM_UP
from scenelift.train.plan import Plan
from scenelift.train.state import Callback

MEASURED = 10
"""Steps after which every training estimates the rest of it."""
SPARE = 1.1
"""Later batches may have this many times the points of the measured ones."""
COPIES = 2
"""Copies of the trained student: in the run's folder and as a logged model."""


class Measured(BaseException):
    """Ends a run that was only to be measured; not an Exception, so that nothing catches it on the way."""


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk of the remaining steps of a training."""

    steps: int
    seconds_per_step: float
    """Wall time, including the wait for data."""
    device: str
    """Kind of memory: cuda or cpu."""
    memory: int
    """Peak bytes of a worker so far."""
    room: int
    """Bytes available to a worker."""
    checkpoint: int
    """Bytes of one checkpoint."""
    checkpoints: int
    """How many more will lie in the run's folder at the same time."""
    disk: int
    """Bytes that the run will write and keep."""
    free: int
    """Bytes free where the run is kept."""

    @property
    def seconds(self) -> float:
        """Seconds of all remaining steps."""
        return self.steps * self.seconds_per_step

    def table(self, now: float | None = None) -> str:
        """Three lines for the screen; now: seconds since the epoch."""
        end = time.localtime((time.time() if now is None else now) + self.seconds)
        clock = time.strftime("%H:%M" if self.seconds < 12 * 3600 else "%a %H:%M", end)
        kind = memory_of(self.device)
        return (
            f"  {'time':<12}{self.steps:,} steps of {self.seconds_per_step:.2f} s: {duration(self.seconds)}, "
            f"until about {clock}\n"
            f"  {kind:<12}{megabytes(self.memory)} of {megabytes(self.room)} a worker, at most so far\n"
            f"  {'disk':<12}{megabytes(self.disk)} of {megabytes(self.free)} free, for {self._written}"
        )

    @property
    def _written(self) -> str:
        plural = "" if self.checkpoints == 1 else "s"
        return f"{self.checkpoints} more checkpoint{plural} of {megabytes(self.checkpoint)} and the student"

    def require(self, folder: str, advice: str) -> None:
        """Raise StorageError or ClusterError if the run cannot fit; advice: what makes batches smaller."""
        if self.disk > self.free:
            raise StorageError(
                f"the run needs about {megabytes(self.disk)} for {self._written}, "
                f"{megabytes(self.free)} are free at {folder}; "
                "free some space, lower loop.keep, or set run.storage to a larger disk"
            )
        if self.memory * SPARE > self.room:
            raise ClusterError(
                f"a worker holds {megabytes(self.memory)} of {megabytes(self.room)} {memory_of(self.device)} "
                f"already, and batches with more points will come; {advice}"
            )


class Stopwatch:
    """Mean seconds of the steps from `start` to `last`, without the first `WARM_UP`."""

    def __init__(self, start: int, last: int, clock: Callable[[], float]) -> None:
        self.first, self.last, self.clock = start + WARM_UP, last, clock
        self.began = 0.0

    def lap(self, done: int) -> float | None:
        """Call after every step; the mean is returned once, else None."""
        if done == self.first:
            self.began = self.clock()
        if done == self.last > self.first:
            return (self.clock() - self.began) / (self.last - self.first)
        return None


def memory(device: torch.device) -> tuple[int, int]:
    """Peak bytes of this process so far, and the bytes available to it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return torch.cuda.max_memory_allocated(device), free + torch.cuda.memory_reserved(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak, psutil.virtual_memory().available + psutil.Process().memory_info().rss


def size_of(state: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(size_of, state.values()))
    return sum(map(size_of, state)) if isinstance(state, list | tuple) else 0


def smaller(plan: Plan, smaller_samples: str) -> str:
    """Advice on how to make micro-batches smaller; smaller_samples: advice on single samples."""
    batch, accumulate = plan.loop.batch, plan.loop.accumulate
    share = batch * accumulate // plan.parts
    parts = next((parts for parts in range(accumulate + 1, share + 1) if share % parts == 0), None)
    if parts is None:
        return f"a micro-batch is a single sample already: {smaller_samples}"
    return f"raise loop.accumulate to {parts} (the same batch in smaller parts), or lower loop.batch below {batch}"


@contextmanager
def memory_errors(device: torch.device, advice: str) -> Iterator[None]:
    """Turns out-of-memory errors of torch into a ClusterError with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = ("out of memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in known):
            raise
        raise ClusterError(f"out of {memory_of(device.type)} ({first_line(error)}); {advice}") from error


def memory_of(device: str) -> str:
    return "GPU memory" if device == "cuda" else "memory"


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s", 12000 -> "3 h 20 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def additional(checkpoints: Checkpoints, writes: int, keep: int) -> int:
    """How many more checkpoints than now will lie on the disk at the same time; writes: still to be written; keep:
    that stay. Of a run in a bucket only the one that is being written lies on a disk."""
    present = len(checkpoints.all())
    more = max(min(present + writes, keep + 1) - present, min(writes, 1))
    return more if checkpoints.local else min(more, 1)


class Measuring(Callback):
    """Times the first steps and refuses a training that cannot fit; ends one that was only to be measured."""

    def on_start(self) -> None:
        state, plan = self.state, self.state.worker.plan
        wanted, self._start = plan.loop.preflight_steps, state.done
        if wanted > plan.steps - state.done:
            raise ConfigError(
                f"the run has {plan.steps - state.done} steps to go, less than loop.preflight_steps "
                f"{wanted}; lower it or train at once"
            )
        self._watch = Stopwatch(state.done, state.done + (wanted or MEASURED), self._clock)

    def _clock(self) -> float:
        """Seconds, once the device has finished its work."""
        if self.state.worker.device.type == "cuda":
            torch.cuda.synchronize(self.state.worker.device)
        return time.perf_counter()

    def on_step(self) -> None:
        self._seconds = self._watch.lap(self.state.done)

    def on_step_end(self) -> None:
        state, plan = self.state, self.state.worker.plan
        only_measured = plan.loop.preflight_steps > 0
        if self._seconds is None or (state.done == plan.steps and not only_measured):
            return
        state.stopped |= only_measured
        if state.worker.rank == 0:
            estimate = self._estimate(self._start if only_measured else state.done, self._seconds)
            state.post("estimate", values=asdict(estimate))
            advice = smaller(plan, state.worker.smaller_samples)
            estimate.require(state.worker.checkpoints.workplace, advice)

    def _estimate(self, done: int, seconds: float) -> Estimate:
        """The estimate of the steps after step `done`, at a number of seconds each."""
        state, plan, checkpoints = self.state, self.state.worker.plan, self.state.worker.checkpoints
        student = size_of(state.student.state_dict())
        raw = state.method.student.state_dict() if state.replaced else {}
        size = student + size_of([state.optimizer.state_dict(), raw])
        best = plan.loop.watch.keep_best
        more = additional(checkpoints, plan.saves(done) + best, checkpoints.keep + best)
        return Estimate(
            plan.steps - done,
            seconds,
            state.worker.device.type,
            *memory(state.worker.device),
            checkpoint=size,
            checkpoints=more,
            disk=more * size + COPIES * student,
            free=storage.free(checkpoints.workplace),
        )
