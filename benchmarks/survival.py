"""Kills workers, nodes and the main process of a training at random moments, and counts what it survives.

    python -m benchmarks.survival [--kills 20] [--seed 0]

A Ray cluster with a head without CPUs and three nodes of two CPUs each runs on this machine. A small training on
two of the nodes, with a checkpoint every 20 steps, is killed again and again, in turn: one of its workers, a node
with everything that runs on it (a new one joins two seconds later), its main process (restarted with
--run.resume true). Then it runs to its end, and its weights are compared with those of a training that was never
killed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # Ray reads these when it is imported
    os.environ["RAY_AUTH_MODE"] = "disabled"  # the cluster lives only as long as the benchmark
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "20")

from benchmarks import toy
from benchmarks.machines import Machines
from scenelift.cluster import connect as cluster
from scenelift.nn.student import Student
from scenelift.runs.config import RunConfig
from scenelift.runs.experiment import experiment
from scenelift.runs.folder import Run
from scenelift.tracking.config import TrackingConfig
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.launch import Resources, launch

EVERY = 20
"""Steps between checkpoints."""
PACE = 0.1
"""Seconds of a step while kills are still to come."""
PATIENCE = 240.0
"""Seconds after which a training counts as not recovered."""
RESOURCES = Resources(workers=2, cpus=1.5, gpus=0)
"""One worker on each node; neither leaves a CPU there for the data loader."""


def drive(folder: Path, name: str, steps: int) -> None:
    """The main process of the training: starts it, or resumes it."""
    run = RunConfig(name, str(folder), resume=Run(folder / name).begun)
    config = toy.ToyConfig(TrackingConfig(experiment="survival", system_metrics=0), run)
    build = toy.Build(PACE, folder / "hurry")
    with (
        cluster.connect(),
        experiment("survival", config, {}, {"toy": config}, ()) as started,
    ):
        job = toy.job(str(folder / "shards"), started.run.checkpoints, steps, EVERY, build)
        launch(job, RESOURCES, started.listen)
        started.trained()


@dataclass
class Kill:
    """One kill and its outcome."""

    what: str
    at: float
    """Seconds since 1970."""
    reached: int
    """The last step logged before the kill."""
    lost: int | None = None
    """Steps that were repeated; None: the training did not recover."""
    seconds: float = 0.0
    """From the kill until the training loop was entered again."""


@dataclass
class Victim:
    """A training and its cluster."""

    folder: Path
    steps: int
    name: str = "killed"
    machines: Machines = field(default_factory=lambda: Machines(3))
    driver: subprocess.Popen[bytes] | None = None

    def start(self, name: str) -> None:
        """Start the main process, or start it again."""
        self.name = name
        self.driver = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.survival", "--drive", name, *self._options()],
            env={**os.environ, "RAY_ADDRESS": self.machines.address},
            stdout=(self.folder / f"{name}.out").open("ab"),
            stderr=(self.folder / f"{name}.log").open("ab"),
        )

    def _options(self) -> list[str]:
        return ["--folder", str(self.folder), "--steps", str(self.steps)]

    def history(self) -> list[dict[str, Any]]:
        """The events of the run so far."""
        run = Run(self.folder / self.name)
        return run.history() if run.begun else []

    def reached(self) -> int:
        """The last step logged so far."""
        return max((event["step"] for event in self.history() if event["kind"] == "metrics"), default=0)

    def kill(self, what: str, chance: random.Random) -> None:
        """Kill a worker, a node that trains, or the driver."""
        if what == "worker":
            chance.choice(self.machines.workers()).kill()
        elif what == "node":
            self.machines.lose_one_that_trains()
            time.sleep(2)
            self.machines.add()
        else:
            assert self.driver is not None
            self.driver.kill()
            self.driver.wait()
            self.start(self.name)

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Whether `until` became true within `seconds`, without the driver failing first."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if until():
                return True
            if self.driver is not None and self.driver.poll() not in (None, 0):
                return False
            time.sleep(0.2)
        return False

    def finish(self) -> None:
        """Let the training run to its end; SystemExit if it does not get there."""
        (self.folder / "hurry").touch()
        done = self.wait(lambda: (self.folder / self.name / "result.json").exists(), 10 * PATIENCE)
        if not done:
            raise SystemExit(f"the training did not end; see {self.folder / self.name}.log")
        assert self.driver is not None
        self.driver.wait()
        (self.folder / "hurry").unlink()

    def close(self) -> None:
        if self.driver is not None and self.driver.poll() is None:
            self.driver.send_signal(signal.SIGKILL)
        self.machines.close()


def strike(victim: Victim, what: str, chance: random.Random) -> Kill:
    """Kill once the training has done some steps, and watch whether it continues."""
    before = victim.reached()
    if not victim.wait(lambda: victim.reached() > before, PATIENCE):
        return Kill(what, time.time(), before)
    time.sleep(chance.uniform(0, EVERY * PACE))
    kill = Kill(what, time.time(), victim.reached())
    victim.kill(what, chance)
    if victim.wait(lambda: restart(victim, kill) is not None and victim.reached() > kill.reached, PATIENCE):
        event = restart(victim, kill)
        assert event is not None
        kill.lost, kill.seconds = event["repeated"], event["time"] - kill.at
    return kill


def restart(victim: Victim, kill: Kill) -> dict[str, Any] | None:
    """The event of the restart after a kill, once the history has it."""
    later = (event for event in victim.history() if event["time"] > kill.at and "repeated" in event)
    return next(later, None)


def same_weights(folder: Path) -> bool:
    """Whether the final weights of both trainings are bitwise equal."""
    ends = [Checkpoints(Run(folder / name).checkpoints).latest() for name in ("whole", "killed")]
    one, two = (Student.load(end.folder).state_dict() for end in ends if end is not None)
    return all(bool((one[name] == two[name]).all()) for name in one)


def main() -> None:
    """Kill, count, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400, help="of 0.1 s each while kills are still to come")
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        drive(asked.folder, asked.drive, asked.steps)
        return
    chance = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="scenelift-survival-") as name:
        folder = Path(name)
        with cluster.connect("local"):
            toy.write(folder)
        victim = Victim(folder, asked.steps)
        try:
            victim.start("killed")
            kills = []
            for number in range(asked.kills):
                kills.append(strike(victim, ["worker", "node", "driver"][number % 3], chance))
                last = kills[-1]
                outcome = (
                    "not recovered" if last.lost is None else f"{last.seconds:.1f} s, {last.lost} steps lost"
                )
                print(f"{number + 1:2d} {last.what:7} at step {last.reached}: {outcome}", flush=True)
            victim.finish()
            victim.start("whole")
            victim.finish()
            report(kills, same_weights(folder))
        finally:
            victim.close()


def report(kills: list[Kill], same: bool) -> None:
    """Print the figures."""
    done = [kill for kill in kills if kill.lost is not None]
    print(f"recovered {len(done)} of {len(kills)}")
    for what in ("worker", "node", "driver"):
        some = [kill for kill in done if kill.what == what]
        if some:
            lost = [kill.lost or 0 for kill in some]
            seconds = sorted(kill.seconds for kill in some)
            print(
                f"  {what}: median {seconds[len(seconds) // 2]:.1f} s, at most {seconds[-1]:.1f} s; steps lost "
                f"at most {max(lost)}, on average {sum(lost) / len(lost):.1f}, of {EVERY} between checkpoints"
            )
    print(
        f"final weights {'the same bits as' if same else 'DIFFER from those of'} a training that was never killed"
    )


if __name__ == "__main__":
    main()
