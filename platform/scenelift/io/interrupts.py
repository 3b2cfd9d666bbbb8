"""Ctrl-C and SIGTERM as exceptions of the main thread, whatever libraries do with the signals meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which `ray job stop`, Slurm, Kubernetes and `docker stop` send."""


def raise_interrupts() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt and SIGTERM raises Terminated."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _terminate)


@contextmanager
def own_handlers() -> Iterator[None]:
    """Puts back the handlers that a library replaces inside the `with`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.getsignal(each) for each in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            if handler is not None:  # one that was not installed from Python
                signal.signal(number, handler)


def status(error: KeyboardInterrupt) -> int:
    """Exit status of a command that was interrupted: 128 + the signal's number."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def _terminate(*_: Any) -> None:
    raise Terminated
