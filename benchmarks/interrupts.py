"""Interrupts a distillation in each of its phases, and prints what it said and what was lost.

    python -m benchmarks.interrupts [--phases import training ...] [--signals SIGINT SIGTERM]

Each run is `trainables.distill` on the smallest synthetic world, in a process group of its own, as in a terminal.
A phase begins when the command says so on the screen, or, before it says anything, after some time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.submitted import write_world
from datasets.synthetic.config import PRESETS
from scenelift.cluster import connect as cluster

PATIENCE = 300.0
"""Seconds until a phase has begun, or a command has ended."""
ORDERLY = ("interrupted", "error: ")
"""How the last line of a command that was interrupted may begin."""


@dataclass(frozen=True)
class Phase:
    """A phase of a training and how to see that it has begun."""

    name: str
    begun: Callable[[Command], bool]
    sharding: bool = False
    """Whether the command is a shard job instead of a training."""


class Command:
    """A command that runs in a folder, and what it has said so far."""

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.folder, self.log = folder, folder / "screen.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.began = time.monotonic()

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def children(self) -> list[str]:
        """Names of the processes that it started."""
        try:
            return [child.name() for child in psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.Error:
            return []

    def loaded(self, library: str) -> bool:
        """Whether the process has mapped a file of this library."""
        try:
            return library in Path(f"/proc/{self.process.pid}/maps").read_text()
        except OSError:
            return False

    def wait(self, until: Callable[[], bool]) -> bool:
        """Whether it became true before the command ended, and before `PATIENCE` is over."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if until():
                return True
            time.sleep(0.02)
        return False


PHASES = (
    Phase("start of Python", lambda command: time.monotonic() - command.began > 0.15),
    Phase("import", lambda command: command.loaded("libtorch")),
    Phase("Ray's start", lambda command: "gcs_server" in command.children),
    Phase("sharding", lambda command: "raylet" in command.children, sharding=True),
    Phase("teacher's scores", lambda command: _kinds(command) == {"data"}),
    Phase("training", lambda command: "metrics" in _kinds(command)),
    Phase("scoring", lambda command: "was the bottleneck" in command.said),
)


def _history(folder: Path) -> list[dict[str, object]]:
    file = folder / "runs" / "run" / "history.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _kinds(command: Command) -> set[object]:
    """Of the events of the run; the first are those of its shards."""
    return {event["kind"] for event in _history(command.folder)}


def interrupt(phase: Phase, number: signal.Signals, world: Path, folder: Path) -> list[str]:
    """One row: phase, signal, exit, status, what was lost, the last line on the screen."""
    folder.mkdir(parents=True)
    train = ["trainables.distill", "--data.train", str(world / "train"), "--data.test", str(world / "val")]
    train += ["--loop.batch", "2", "--loop.log_every", "1", "--loop.epochs", "300", "--run.name", "run"]
    train += [
        "--run.storage",
        str(folder / "runs"),
        "--scale.workers",
        "2",
        "--teacher.image_size",
        "28",
        "48",
    ]
    if phase.name == "scoring":
        train[train.index("300")] = "2"
    shard = [
        "datasets.shard",
        "nuscenes",
        "--root",
        str(world / "world"),
        "--version",
        PRESETS["tiny"].version,
    ]
    shard += ["--split", "train", "--image_size", "32", "48", "--out", str(folder / "shards")]
    command = Command(folder, shard if phase.sharding else train)
    if not command.wait(lambda: phase.begun(command)):
        command.process.kill()
        return [phase.name, number.name, "", "not reached", "", _last(command.said)]
    below = psutil.Process(command.process.pid).children(recursive=True)
    command.process.send_signal(number)
    try:
        status = str(command.process.wait(PATIENCE))
    except subprocess.TimeoutExpired:
        command.process.kill()
        status = "hangs"
    time.sleep(5)
    left = sum(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in below)
    return [phase.name, number.name, status, _status(folder), _lost(folder, left), _last(command.said)]


def _status(folder: Path) -> str:
    file = folder / "runs" / "run" / "result.json"
    return str(json.loads(file.read_text())["status"]) if file.exists() else "no run"


def _lost(folder: Path, left: int) -> str:
    steps = [int(str(event["step"])) for event in _history(folder) if event["kind"] == "metrics"]
    saved = [
        int(path.name[5:])
        for path in folder.glob("runs/run/checkpoints/step-*")
        if (path / "done.json").exists()
    ]
    lost = f"{max(steps, default=0) - max(saved, default=0)} of {max(steps, default=0)} steps"
    return f"{lost}, {left} processes left" if left else lost


def _last(said: str) -> str:
    lines = [line.strip() for line in said.replace("\r", "\n").splitlines() if line.strip()]
    orderly = [line for line in lines if line.startswith(ORDERLY)]
    trace = "TRACEBACK; " if "Traceback" in said or "*** SIG" in said else ""
    return trace + ((orderly or lines or [""])[-1])[:100]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phases", nargs="+", default=[phase.name for phase in PHASES])
    parser.add_argument("--signals", nargs="+", default=["SIGINT", "SIGTERM"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scenelift-") as place:
        world = Path(place) / "world"
        with cluster.connect():
            write_world(world)
        print("| phase | signal | exit | status | lost | last line |\n|---|---|---|---|---|---|", flush=True)
        for phase in PHASES:
            for name in options.signals if phase.name in options.phases else ():
                number = signal.Signals[name]
                row = interrupt(phase, number, world, Path(place) / f"{phase.name}-{name}".replace(" ", "-"))
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
