"""What it costs to ask the most used commands something that they can answer at once.

`python -m benchmarks.startup` prints modules of ours, seconds and CPU seconds of each command with --help,
a mistyped option, an unknown preset and a wrong path; followed by MODULE [ARGUMENTS ...], of that command alone.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOWHERE = "/nowhere"
TYPO = ("--loop.epohcs", "3")
COMMANDS = {
    "trainables.distill": (TYPO, ("--data.train", NOWHERE)),
    "trainables.ground": (TYPO, ("--data.train", NOWHERE)),
    "trainables.phrases": (TYPO, ("--data.train", NOWHERE)),
    "trainables.finetune": (TYPO, ("--start", NOWHERE)),
    "trainables.predict": (TYPO, ("--student", ".", "--data", NOWHERE)),
    "datasets.shard": (("nuscenes", "--rooot", "x"), ("nuscenes", "--root", NOWHERE)),
    "sweeps.loss_weights": (TYPO, ("--data.train", NOWHERE)),
}
"""The most used commands: a mistyped option of each, and a wrong path."""
OURS = ("scenelift", "datasets", "trainables", "sweeps")
HEAVY = ("torch", "ray", "open_clip", "matplotlib", "mlflow", "pyarrow", "scipy")
"""Packages that take their time to be imported."""

_RUN = """
import atexit, json, runpy, sys
report, module, *sys.argv[1:] = sys.argv[1:]
atexit.register(lambda: open(report, "w").write(json.dumps(sorted(sys.modules))))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Start:
    """One command, run to its end."""

    status: int
    seconds: float
    cpu: float
    """User and system seconds of the process and of its children."""
    modules: tuple[str, ...]
    """All that it had imported at its end."""
    said: str

    @property
    def ours(self) -> int:
        """Modules of the repository, packages among them."""
        return sum(name.partition(".")[0] in OURS for name in self.modules)

    @property
    def heavy(self) -> list[str]:
        """Which of `HEAVY` it has imported."""
        return [name for name in HEAVY if name in self.modules]


def start(module: str, arguments: Sequence[str]) -> Start:
    """Run `python -m module arguments` from the root of the repository."""
    with tempfile.NamedTemporaryFile("r") as report:
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _RUN, report.name, module, *arguments],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        modules = tuple(json.loads(report.read()))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Start(done.returncode, seconds, cpu, modules, done.stdout)


def cases(module: str) -> dict[str, tuple[str, ...]]:
    """What is asked of a command."""
    typo, wrong = COMMANDS[module]
    return {
        "--help": ("--help",),
        "mistyped option": typo,
        "unknown preset": ("nopreset",),
        "wrong path": wrong,
    }


def main(arguments: Sequence[str]) -> None:
    asked = {(name, case): given for name in COMMANDS for case, given in cases(name).items()}
    if arguments:
        asked = {(arguments[0], " ".join(arguments[1:])): tuple(arguments[1:])}
    print("| command | asked | modules of ours | s | CPU s | imports of | answer |")
    print("|---|---|---:|---:|---:|---|---|")
    for (name, case), given in asked.items():
        found = start(name, given)
        answer = "its help" if found.status == 0 else (found.said.strip().splitlines() or [""])[-1][:80]
        row = [name, case, found.ours, f"{found.seconds:.1f}", f"{found.cpu:.1f}", ", ".join(found.heavy)]
        print("|", " | ".join(map(str, [*row, answer])), "|", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
