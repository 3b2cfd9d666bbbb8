"""Output of commands: progress as a bar or lines, and warnings about untested versions of libraries."""

from __future__ import annotations

import functools
import logging
import sys
import time

from tqdm import tqdm

from scenelift.io.secrets import public


class Meter:
    """Progress of `total` units: a tqdm bar on a terminal, else a line every few seconds."""

    def __init__(self, title: str, total: int, unit: str, every: float = 10.0) -> None:
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.count, self.note = 0, ""
        self.began = self.printed = time.monotonic()
        self.first: tuple[float, int] | None = None
        """When the first units were done, and how many: what starts up before them says nothing of the rest."""
        self.bar = tqdm(total=total, desc=title, unit=unit, leave=False) if sys.stderr.isatty() else None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        if kind is None:
            seconds = time.monotonic() - self.began
            note = f", {self.note}" if self.note else ""
            say(f"{self.title}: {self.count} {self.unit} in {seconds:.0f} s{note}")

    def to(self, count: int, note: str = "") -> None:
        """Set the number of units done, and a short note shown after it."""
        self.note = note or self.note
        if self.bar is not None:
            self.bar.set_postfix_str(self.note)
            self.bar.update(count - self.count)
        self.count = count
        if self.first is None and count:
            self.first = time.monotonic(), count
        if self.bar is None and count and time.monotonic() - self.printed >= self.every:
            self.printed = time.monotonic()
            say(f"{self.title}: {count}/{self.total} {self.unit}{self._left()}  {self.note}")

    def _left(self) -> str:
        assert self.first is not None
        seconds, done = time.monotonic() - self.first[0], self.count - self.first[1]
        return f", about {seconds / done * (self.total - self.count):.0f} s left" if done > 0 else ""

    def add(self, count: int = 1) -> None:
        """Count more units."""
        self.to(self.count + count)


def say(line: str) -> None:
    """Print a line without breaking a progress bar."""
    tqdm.write(public(line), file=sys.stderr)
    sys.stderr.flush()


_log = logging.getLogger(__name__)


@functools.cache  # a process says it once
def warn_if_untested(library: str, installed: str, tested: str | tuple[str, ...]) -> None:
    """Warn unless `installed` is one of the `tested` versions, or a patch of one that names no patch."""
    known = (tested,) if isinstance(tested, str) else tested
    if not any(f"{installed}.".startswith(f"{each}.") for each in known):
        _log.warning(
            "%s %s is installed, and Scenelift uses private parts of it that were tested with %s; "
            "run `python -m pytest -m internals` to see whether they still fit",
            library,
            installed,
            ", ".join(known),
        )
