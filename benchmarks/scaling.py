"""Throughput of more workers on one machine, time spent waiting for data, and whether memory stays flat.

    python -m benchmarks.scaling [--workers 1 2 4] [--steps 200] [--long 2000]

A small student is trained on random clouds with 1, 2 and 4 workers of one thread each, then for 2,000 steps with
two on smaller clouds. Prints, from what the run itself logs after its first steps: samples a second, seconds a
step, share of the time that waits for data, and CPU seconds a sample of all training workers, beside those of as
many processes that take the same steps without Ray and without each other: what the cores explain. Then the memory
of the main process, the workers and Ray's object store after a fifth of the long training and at its end.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks import toy
from scenelift.cluster import connect as cluster
from scenelift.cluster import ray_internals, resources
from scenelift.io.storage import megabytes
from scenelift.samples.config import ReadOptions
from scenelift.train.launch import Resources, launch
from scenelift.train.method import Progress
from scenelift.train.optimizer import build_optimizer

WARM = 20
"""Steps that are not counted: readers and workers start."""
BATCH = 8
BARE_SAMPLES = 64
"""What each process without Ray trains on, after three warm steps."""
FRAMES, POINTS, FEW = 256, 20_000, 1_000
"""Clouds, their points, and those of the long training's."""

_together: Barrier
"""In a process without Ray: where all wait until the last is warm."""


@dataclass
class Watch:
    """Listens to a training and looks at its processes."""

    every: int = 100
    """Steps between two looks."""
    spans: list[tuple[float, float, float]] = field(default_factory=list)
    """(seconds, samples, seconds waited) of each logged span after the warm-up."""
    memory: dict[int, dict[str, int]] = field(default_factory=dict)
    """Step -> bytes by name."""
    cpu: tuple[float, float] | None = None
    """CPU seconds of the workers at the end of the warm-up, and now."""
    step: int = 0

    def listen(self, event: dict[str, Any]) -> None:
        """Takes an event of the workers."""
        if event["kind"] != "metrics" or event["step"] <= WARM:
            return
        seconds, values, self.step = event["seconds"], event["values"], event["step"]
        self.spans.append((seconds, values["frames_per_second"] * seconds, values["data_wait"] * seconds))
        if self.step % self.every == 0:
            workers = ray_internals.training_processes([psutil.Process()])
            spent = sum(sum(worker.cpu_times()[:2]) for worker in workers)
            self.cpu = (self.cpu[0] if self.cpu else spent, spent)
            self.memory[self.step] = {
                "main process": psutil.Process().memory_info().rss,
                "workers": sum(worker.memory_info().rss for worker in workers),
                "object store": ray_internals.object_store(),
            }

    def figures(self) -> tuple[float, float, float]:
        """Samples a second, seconds a step, share of waiting."""
        seconds, samples, waited = (sum(column) for column in zip(*self.spans, strict=True))
        return samples / seconds, BATCH * seconds / samples, waited / seconds


def train(shards: str, folder: Path, workers: int, steps: int) -> Watch:
    """One training of `steps` steps."""
    watch = Watch(every=max(1, steps // 10))
    job = toy.job(shards, str(folder / "checkpoints"), steps, steps, toy.Build(0, folder / "hurry"), BATCH)
    launch(replace(job, loop=replace(job.loop, log_every=5)), Resources(workers, 0.5, 0), watch.listen)
    return watch


def bare(processes: int) -> float:
    """Milliseconds of CPU a sample of N processes in parallel that share a batch, with one thread each."""
    spawned = multiprocessing.get_context("spawn")
    together = spawned.Barrier(processes)
    with ProcessPoolExecutor(processes, spawned, _meet, (together,)) as pool:
        return 1000 * statistics.mean(pool.map(_steps, [BATCH // processes] * processes))


def _meet(barrier: Barrier) -> None:
    global _together
    _together = barrier


def _steps(batch: int) -> float:
    """CPU seconds a sample of steps on batches in memory, once all processes are warm."""
    torch.set_num_threads(1)
    source = toy.Clouds(2 * batch, POINTS)
    frames = [
        source.read(keyframe, ReadOptions(image_size=(8, 12))) for keyframe in source.list_samples(None)
    ]
    method = toy.Heights(0, Path()).train()
    optimizer = build_optimizer(toy.OPTIMIZER, method.student)
    began = 0.0
    for number in range(-3, BARE_SAMPLES // batch):
        if number == 0:
            _together.wait()
            began = time.process_time()
        part = frames[:batch] if number % 2 else frames[batch:]
        optimizer.zero_grad()
        method(toy.COLLATE(part, 0), Progress(number, 0, 1))["height"].backward()
        optimizer.step()
    return (time.process_time() - began) / (BARE_SAMPLES // batch * batch)


def main() -> None:
    """Train with each number of workers, then long."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument(
        "--long", type=int, default=2000, help="steps of the training whose memory is looked at"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, cluster.connect():
        folder = Path(name)
        shards = toy.write(folder, FRAMES, POINTS)
        print(f"{resources.cores()} cores, {FRAMES} clouds of {POINTS} points, batches of {BATCH}")
        for workers in asked.workers:
            began = time.monotonic()
            watch = train(shards, folder / f"with-{workers}", workers, asked.steps)
            rate, step, waiting = watch.figures()
            whole = time.monotonic() - began
            cpu = ""
            if watch.cpu is not None and watch.cpu[1] > watch.cpu[0]:
                samples = (watch.step - min(watch.memory)) * BATCH
                cpu = f", {1000 * (watch.cpu[1] - watch.cpu[0]) / samples:.1f} ms of CPU a sample"
                cpu += f" ({bare(workers):.1f} without Ray)"
            print(
                f"  {workers} workers: {rate:.1f} samples/s, {1000 * step:.0f} ms a step, waiting for data "
                f"{100 * waiting:.0f} %{cpu}; {whole:.0f} s with start and end",
                flush=True,
            )
        if asked.long:
            small = toy.write(folder / "small", FRAMES, FEW)
            show(train(small, folder / "long", 2, asked.long).memory)


def show(memory: dict[int, dict[str, int]]) -> None:
    """Memory early and late in the long training."""
    steps = sorted(memory)
    early, late = steps[len(steps) // 5], steps[-1]
    print(f"memory from step {early} to step {late}:")
    for name in memory[late]:
        first, last = memory[early][name], memory[late][name]
        most = max(at[name] for at in memory.values())
        print(f"  {name}: {megabytes(first)} to {megabytes(last)}, at most {megabytes(most)}")


if __name__ == "__main__":
    main()
