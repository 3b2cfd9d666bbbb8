"""Tells which worker of a training stands still: every worker sends beats, and the driver looks at them."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

STARTING, READING, COMPUTING = "starting", "waiting for data", "computing"
AFTER, ENDED = "validating or saving", "at its end"
"""What a worker may be doing."""
EVERY = 5.0
"""Seconds between two beats."""
SILENCE = 50.0
"""Seconds after which a training that makes no step, or a worker without a beat, stands still."""


@dataclass(frozen=True)
class Beat:
    """What a worker said last."""

    rank: int
    workers: int
    """That train now."""
    host: str
    pid: int
    step: int
    doing: str
    age: float = 0.0
    """Seconds since it was said."""

    def told(self, silence: float) -> str:
        """For people: who it is, and what it does, or did before it fell silent."""
        who = f"rank {self.rank} on {self.host} (PID {self.pid})"
        return f"{who} is silent; last: {self.doing}" if self.age > silence else f"{who} is {self.doing}"


class Beating:
    """A thread of a worker that says every `EVERY` seconds what the worker's own thread is doing."""

    def __init__(self, rank: int, workers: int, send: Callable[[Beat], None]) -> None:
        self.rank, self.workers, self.send = rank, workers, send
        self.step, self.doing = 0, STARTING
        self._over = threading.Event()

    def __call__(self, step: int, doing: str) -> None:
        """Note what is being done."""
        self.step, self.doing = step, doing

    def __enter__(self) -> Beating:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.doing = ENDED
        self._send()

    def _run(self) -> None:
        while not self._over.is_set():
            self._send()
            self._over.wait(EVERY)

    def _send(self) -> None:
        host, pid = socket.gethostname(), os.getpid()
        self.send(Beat(self.rank, self.workers, host, pid, self.step, self.doing))


class Watch:
    """Notices in the driver, once each time, that a training stands still."""

    def __init__(self, silence: float | None = None) -> None:
        """silence: seconds; None: `SILENCE`."""
        self.silence = SILENCE if silence is None else silence
        self.step, self.since, self.said = -1, 0.0, False

    def stalled(self, beats: Sequence[Beat], now: float) -> list[Beat]:
        """The workers without a beat for `silence` seconds, or, where no step was made for so long, all; empty if
        neither, or if it was told already. now: of a clock in seconds."""
        step = max((beat.step for beat in beats), default=-1)
        if step != self.step:
            self.step, self.since, self.said = step, now, False
        silent = [beat for beat in beats if beat.age > self.silence]
        at_work = any(beat.doing in (READING, COMPUTING) for beat in beats)
        stands = bool(silent) or (at_work and now - self.since > self.silence)
        if not stands or self.said:
            return []
        self.said = True
        return silent or list(beats)
