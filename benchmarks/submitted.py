"""Sends a distillation to three machines by `ray job submit`, takes one away in the middle, and compares.

    python -m benchmarks.submitted [--epochs 30] [--machines 3] [--workers 2]

The machines are fake nodes on this one that hold the dependencies alone (see `benchmarks.machines`). The same
training is sent twice: once it runs through, once a machine with one of its two workers is killed. Prints the log
of the second job, what was repeated, and how far the scores of both are apart. With `--machines 2 --workers 1-2`
the training goes on with the one worker that is left.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # Ray reads them when it is imported
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

from benchmarks.machines import Machines
from datasets.nuscenes.source import NuScenes
from datasets.synthetic.config import PRESETS
from datasets.synthetic.generate import generate
from scenelift.cluster import connect as cluster
from scenelift.runs.folder import Run
from scenelift.samples.config import ReadOptions
from scenelift.shards.write import write_shards

EVERY = 10
"""Steps between checkpoints."""


def write_world(folder: Path) -> None:
    """The smallest synthetic world as shards, `train` and `val`."""
    world = replace(PRESETS["tiny"], out=folder / "world")
    generate(world)
    source = NuScenes(world.out, world.version)
    assert world.image_size is not None
    options = ReadOptions(image_size=world.image_size, lidar_sweeps=1)
    for split in ("train", "val"):
        write_shards(source, split, str(folder / split), options, 2, progress=False)


def command(train: Path, test: Path, run: Run, epochs: int, workers: str = "2") -> list[str]:
    """A short distillation on two machines, one worker each."""
    options = {
        "data.train": train,
        "data.test": test,
        "teacher.image_size": "28 48",
        "loop.epochs": epochs,
        "loop.batch": 2,
        "loop.checkpoint_every": EVERY,
        "loop.log_every": 1,
        "scale.workers": workers,
        "scale.cpus": 1.5,
        "run.storage": run.folder.parent,
        "run.name": run.name,
    }
    given = [word for name, value in options.items() for word in (f"--{name}", *str(value).split())]
    return ["python", "-m", "trainables.distill", *given]


def reached(run: Run) -> int:
    """The last step that was logged."""
    return max((event["step"] for event in run.history() if event["kind"] == "metrics"), default=0)


def send(machines: Machines, words: list[str], run: Run, lose: bool) -> str:
    """Run a job to its end and return its log; RuntimeError with the log if it fails."""
    job = machines.submit(*words)
    while lose and job.poll() is None:
        if reached(run) > EVERY:
            machines.lose_one_that_trains()
            break
        time.sleep(0.2)
    said, _ = job.communicate()
    if job.returncode:
        raise RuntimeError(f"the job ended with {job.returncode}:\n{said}")
    return said


def result(run: Run) -> dict[str, Any]:
    """What the run says of itself."""
    assert run.result is not None, f"{run.place} has not ended"
    return run.result


def report(run: Run, whole: dict[str, Any], broken: dict[str, Any]) -> None:
    """What the loss of the machine came to."""
    for event in run.history():
        if "repeated" in event:
            print(f"{event['kind']}: {event['repeated']} steps repeated, {event['workers']} workers go on")
    scores = whole["metrics"]
    apart = max(abs(broken["metrics"][name] - value) for name, value in scores.items())
    print(f"{len(scores)} scores, at most {apart:g} apart from those of the unbroken run")
    print(f"seconds: {whole['seconds']} unbroken, {broken['seconds']} with the loss")


def main() -> None:
    """Send both, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=30, help="of two steps each")
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--workers", default="2", help="of each training; a range for an elastic one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scenelift-submitted-") as name:
        folder = Path(name)
        with cluster.connect("local"):
            write_world(folder)
        machines = Machines(asked.machines)
        try:
            runs = [Run(folder / "runs" / name) for name in ("whole", "broken")]
            for run in runs:
                words = command(folder / "train", folder / "val", run, asked.epochs, asked.workers)
                said = send(machines, words, run, lose=run.name == "broken")
            print(said)
            report(runs[1], *map(result, runs))
        finally:
            machines.close()


if __name__ == "__main__":
    main()
