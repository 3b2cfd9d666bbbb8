"""Processes that try bad inputs, each within limits of time and memory; one that hangs or dies is replaced."""

from __future__ import annotations

import multiprocessing
import re
import resource
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.hostile.cases import Bench, Case
from benchmarks.hostile.judge import BYTES, SECONDS, Verdict

_PREPARING = 120.0
"""Longest time, seconds, of making an input; a bomb takes some."""


@dataclass(frozen=True)
class Result:
    """A case with its verdict."""

    case: Case
    verdict: Verdict
    content: str
    """What tells the input from others of its file; empty: the way does not change this file."""
    bytes: int = 0
    """Most memory that it took."""


def serve(connection: Connection, folder: Path) -> None:
    """In a process of its own: try the cases that come, until none does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bench = Bench(folder)
    while case := connection.recv():
        limits = Limits(connection)
        content, verdict = bench.tried(case, limits)
        connection.send(Result(case, verdict, content, limits.peak))


class Limits:
    """Limits the memory of what is done within it, measures it, and says before that it begins."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.before = self.peak = 0

    def __enter__(self) -> None:
        self.connection.send("it begins")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.before = _memory("VmRSS")
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + BYTES, resource.RLIM_INFINITY))

    def __exit__(self, *error: object) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.peak = max(0, _memory("VmHWM") - self.before)


def _memory(name: str) -> int:
    """A figure of this process in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) << 10


class Worker:
    """One such process, from the outside."""

    def __init__(self) -> None:
        self.process: multiprocessing.process.BaseProcess | None = None

    def run(self, case: Case) -> Result:
        """Try a case; a process that does not answer in time is killed, which is a failure of the case."""
        if self.process is None:
            self._start()
        assert self.process is not None
        self.connection.send(case)
        try:
            found = self._answer(_PREPARING)
            if found is None:
                raise EOFError("the input could not be made")
            if not isinstance(found, Result):
                found = self._answer(SECONDS + 2)
            if isinstance(found, Result):
                return found
            why = f"hangs: no answer after {SECONDS + 2:.0f} s"
        except (EOFError, OSError) as error:
            why = f"killed its process: {error}"
        self.close()
        return Result(case, Verdict("failed", why, SECONDS), case.way)

    def _answer(self, seconds: float) -> object:
        return self.connection.recv() if self.connection.poll(seconds) else None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.folder = tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True)
        self.process = context.Process(target=serve, args=(theirs, Path(self.folder.name)), daemon=True)
        self.process.start()
        theirs.close()

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.folder.cleanup()
        self.process = None
