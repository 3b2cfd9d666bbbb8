"""The clock, the precision switches and the comparison that all sections measure with."""

from __future__ import annotations

import cProfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from scenelift.sparse.layers import resolve_engine, use_tf32

Precision = Literal["float32", "tf32", "float16", "bfloat16"]
Engine = Literal["spconv", "torch"]
Step = Callable[[], object]
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass
class Bench:
    """The device that is measured, and how long it may take."""

    device: torch.device
    small: bool
    """Tiny networks and few repeats: does everything run at all?"""
    seconds: float
    """Time for everything together."""
    began: float = field(default_factory=time.monotonic)

    @property
    def cuda(self) -> bool:
        """Whether a card is measured."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.seconds - (time.monotonic() - self.began)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Those that the device has kernels for."""
        every: tuple[Precision, ...] = ("tf32", "float32", "float16", "bfloat16")
        return every if self.cuda else ("float32", "bfloat16")

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Sparse engines that are installed."""
        return ("spconv", "torch") if resolve_engine("auto") == "spconv" else ("torch",)

    def synchronize(self) -> None:
        """Wait for the card."""
        if self.cuda:
            torch.cuda.synchronize()

    def time(self, step: Step, repeat: int = 8, warm_up: int = 3) -> dict[str, Any]:
        """Median milliseconds of a step on the device, of this thread's CPU, and peak MiB of the card."""
        repeat, warm_up = (2, 1) if self.small else (repeat, warm_up)
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        for _ in range(warm_up):
            step()
        self.synchronize()
        began = time.thread_time()
        wall = self._by_events(step, repeat) if self.cuda else self._by_clock(step, repeat)
        cpu = 1000 * (time.thread_time() - began) / repeat
        peak = {"MiB": round(torch.cuda.max_memory_allocated() / 2**20)} if self.cuda else {}
        return {"ms": round(float(np.median(wall)), 3), "cpu_ms": round(cpu, 3), **peak}

    def _by_events(self, step: Step, repeat: int) -> list[float]:
        marks = []
        for _ in range(repeat):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            step()
            end.record()
            marks.append((start, end))
        self.synchronize()
        return [start.elapsed_time(end) for start, end in marks]

    def _by_clock(self, step: Step, repeat: int) -> list[float]:
        wall = []
        for _ in range(repeat):
            began = time.perf_counter()
            step()
            wall.append(1000 * (time.perf_counter() - began))
        return wall

    def profile(self, step: Step, repeat: int = 2) -> dict[str, Any]:
        """Milliseconds in which a kernel runs, kernel launches and waits of the host, of a step."""
        if not self.cuda:
            return {}
        from torch.profiler import ProfilerActivity, profile

        self.synchronize()
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
            for _ in range(repeat):
                step()
            self.synchronize()
        spans: list[tuple[float, float]] = []
        kernels: Counter[str] = Counter()
        host: Counter[str] = Counter()
        for event in profiled.events():
            if event.device_type == torch.autograd.DeviceType.CUDA:
                spans.append((event.time_range.start, event.time_range.end))
                kernels[event.name[:90]] += event.time_range.elapsed_us()
            elif "ynchronize" in event.name or event.name.startswith("cudaMemcpy"):
                host[event.name] += 1
        return {
            "waits": _waits(step),
            "kernel_ms": round(_covered(spans) / repeat / 1000, 2),
            "launches": len(spans) // repeat,
            "host_calls": {name: count / repeat for name, count in host.items()},
            "top_ms": {name: round(us / repeat / 1000, 2) for name, us in kernels.most_common(10)},
        }


def _waits(step: Step) -> dict[str, int]:
    """Lines of the step at which torch waits for the card; spconv's own waits are not among them."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places = [
        f"{Path(each.filename).name}:{each.lineno}" for each in caught if "ynchroni" in str(each.message)
    ]
    return dict(Counter(places))


def slowest_calls(step: Step, repeat: int = 3) -> dict[str, float]:
    """Milliseconds of a step that the host spends in functions themselves, the first 15."""
    profiler = cProfile.Profile()
    for _ in range(repeat):
        profiler.runcall(step)
    entries = sorted(profiler.getstats(), key=lambda entry: -entry.inlinetime)[:15]
    return {_name(entry.code): round(1000 * entry.inlinetime / repeat, 2) for entry in entries}


def _name(code: Any) -> str:
    if isinstance(code, str):
        return code
    return f"{Path(code.co_filename).name}:{code.co_firstlineno} {code.co_name}"


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total, until = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


@contextmanager
def precision(name: Precision, device: torch.device) -> Iterator[torch.autocast]:
    """Arithmetic as a training with that `loop.precision` has it; yields what the forward pass runs in."""
    use_tf32(name == "tf32")
    try:
        yield torch.autocast(device.type, HALVES.get(name), name in HALVES)
    finally:
        use_tf32(False)


def difference(ours: Tensor, reference: Tensor) -> float:
    """|ours - reference| / |reference|, in float64; NaN stays NaN."""
    a, b = ours.detach().double().cpu(), reference.detach().double().cpu()
    return float(f"{((a - b).norm() / b.norm().clamp(min=1e-30)).item():.3g}")


def attempt(measure: Callable[..., Any], *arguments: Any) -> Any:
    """A measurement, or in one line why there is none: the others go on."""
    try:
        return measure(*arguments)
    except Exception as error:  # whatever a card or a driver may say belongs into the result
        return f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
