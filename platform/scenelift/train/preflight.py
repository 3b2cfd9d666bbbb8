"""What a training takes, measured on its own first steps: hours, memory, disk. Refused if it cannot fit.

The workers measure, because the driver may have no GPU; what they find goes to the driver as an event.
"""

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

from scenelift.errors import ClusterError, ConfigError, StorageError
from scenelift.io import storage
from scenelift.io.storage import megabytes
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import WARM_UP
from scenelift.train.plan import Plan
from scenelift.train.state import Callback

MEASURED = 10
"""Steps after which every training says what the rest of it takes."""
SPARE = 1.1
"""Later batches may have this many times the points of the measured ones."""
COPIES = 2
"""Times that a trained student is kept by itself: in the run's folder and as a logged model."""


class Measured(BaseException):
    """Ends a run that was to be measured only; nothing went wrong, and nothing may catch it on the way."""


@dataclass(frozen=True)
class Estimate:
    """What the steps of a training that are still to come take."""

    steps: int
    """Optimizer steps to come."""
    seconds_per_step: float
    """Wall time, with the waiting for data."""
    device: str
    """Whose memory it is: cuda or cpu."""
    memory: int
    """Bytes that a worker held at most so far."""
    room: int
    """Bytes that a worker can have."""
    checkpoint: int
    """Bytes of one checkpoint."""
    checkpoints: int
    """How many more than now will lie in the run's folder at once."""
    disk: int
    """Bytes that the run will write and keep."""
    free: int
    """Bytes free where the run is kept."""

    @property
    def seconds(self) -> float:
        """Of all steps to come."""
        return self.steps * self.seconds_per_step

    @classmethod
    def take(
        cls,
        device: torch.device,
        checkpoints: Checkpoints,
        student: dict[str, Any],
        besides: list[Any],
        steps: int,
        seconds_per_step: float,
        writes: int,
        keep: int,
    ) -> Estimate:
        """Look at what a running training holds.

        student, besides: what a checkpoint holds; writes: checkpoints still to be written; keep: those that stay.
        At most these and the one being written lie in the folder at once; of a run in a bucket only the last lies
        on a disk.
        """
        there, size = len(checkpoints.all()), size_of(student) + size_of(besides)
        more = max(min(there + writes, keep + 1) - there, min(writes, 1))
        if not checkpoints.local:
            more = min(more, 1)
        return cls(
            steps,
            seconds_per_step,
            device.type,
            *memory(device),
            checkpoint=size,
            checkpoints=more,
            disk=more * size + COPIES * size_of(student),
            free=storage.free(checkpoints.workplace),
        )

    def table(self, now: float | None = None) -> str:
        """Three lines for the screen; now: seconds since the epoch."""
        now = time.time() if now is None else now
        end = time.strftime(
            "%H:%M" if self.seconds < 12 * 3600 else "%a %H:%M", time.localtime(now + self.seconds)
        )
        kind = "GPU memory" if self.device == "cuda" else "memory"
        return (
            f"  {'time':<12}{self.steps:,} steps of {self.seconds_per_step:.2f} s: {duration(self.seconds)}, "
            f"until about {end}\n"
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
    """Seconds a step of a training that begins at step `start`, known once step `last` is done."""

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


def clock(device: torch.device) -> Callable[[], float]:
    """Seconds, read when the device has done all that it was told."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def memory(device: torch.device) -> tuple[int, int]:
    """Bytes that this process held at most so far, and that it could have."""
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
    """What makes micro-batches smaller, as advice to the user; smaller_samples: what makes one sample smaller."""
    batch, accumulate = plan.loop.batch, plan.loop.accumulate
    share = batch * accumulate // plan.parts
    parts = next((parts for parts in range(accumulate + 1, share + 1) if share % parts == 0), None)
    if parts is None:
        return f"a micro-batch is a single sample already: {smaller_samples}"
    return f"raise loop.accumulate to {parts} (the same batch in smaller parts), or lower loop.batch below {batch}"


@contextmanager
def memory_errors(device: torch.device, advice: str) -> Iterator[None]:
    """Turns what torch says when memory is full into one ClusterError with advice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        known = ("out of memory", "can't allocate memory")
        if not isinstance(error, MemoryError) and not any(words in text.lower() for words in known):
            raise
        said = (text.splitlines() or ["MemoryError"])[0]
        raise ClusterError(f"out of {memory_of(device.type)} ({said}); {advice}") from error


def memory_of(device: str) -> str:
    """The name of a device's memory."""
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


class Measuring(Callback):
    """Times the first steps, and refuses a training that cannot fit; ends it where that was all that is wanted."""

    def on_start(self) -> None:
        state, plan = self.state, self.state.worker.plan
        wanted, self._start = plan.loop.preflight_steps, state.done
        if wanted > plan.steps - state.done:
            raise ConfigError(
                f"the run has {plan.steps - state.done} steps to go, less than loop.preflight_steps "
                f"{wanted}; lower it or train at once"
            )
        now = clock(state.worker.device)
        self._watch = Stopwatch(state.done, state.done + (wanted or MEASURED), now)

    def on_step(self) -> None:
        self._seconds = self._watch.lap(self.state.done)

    def on_step_end(self) -> None:
        state, plan = self.state, self.state.worker.plan
        only_measured = plan.loop.preflight_steps > 0
        if self._seconds is None or (state.done == plan.steps and not only_measured):
            return
        state.stopped |= only_measured
        if state.worker.rank == 0:
            self._estimate(self._start if only_measured else state.done, self._seconds)

    def _estimate(self, done: int, seconds: float) -> None:
        """Report what the steps after `done` take, at the given seconds each; refuse what cannot fit."""
        state, worker, plan = self.state, self.state.worker, self.state.worker.plan
        weights = state.student.state_dict()
        besides = [state.optimizer.state_dict(), state.method.student.state_dict() if state.replaced else {}]
        best = plan.loop.watch.keep_best
        estimate = Estimate.take(
            worker.device,
            worker.checkpoints,
            weights,
            besides,
            plan.steps - done,
            seconds,
            plan.saves(done) + best,
            worker.checkpoints.keep + best,
        )
        state.post("estimate", values=asdict(estimate))
        estimate.require(worker.checkpoints.workplace, smaller(plan, worker.smaller_samples))
