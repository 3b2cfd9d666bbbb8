"""Waits for an MLflow server that stopped answering, so that its absence ends neither a training nor a sweep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from scenelift.errors import TrackingError
from scenelift.io.console import say
from scenelift.tracking import store

PATIENCE = 180.0
"""Seconds that a server is waited for, before what was to be sent is left out."""
PAUSE = 5.0
"""Seconds between two questions."""

T = TypeVar("T")


def wait(uri: str) -> None:
    """Wait until the address answers; TrackingError if it does not within `PATIENCE`."""
    until = time.monotonic() + PATIENCE
    if not store.answers(uri):
        say(f"waiting for MLflow at {store.public(uri)}, {PATIENCE:.0f} s at most")
    while time.monotonic() < until and not store.answers(uri):
        time.sleep(PAUSE)
    store.probe(uri)


class Patient:
    """Calls that one server must take, but need not take now."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._left = False  # whether it was given up, until it answers again

    def __call__(self, doing: str, call: Callable[[], T]) -> T | None:
        """The result of `call`, which may be made several times; None if the server was given up.

        Raises TrackingError if the call fails twice although the server answers.
        """
        until, failed = time.monotonic() + (0 if self._left else PATIENCE), 0
        while True:
            try:
                with store.errors(self.uri, doing):
                    done = call()
                self._left = False
                return done
            except TrackingError as error:
                away = not store.answers(self.uri)
                failed += not away
                if failed > 1:
                    raise
                if away and time.monotonic() >= until:
                    self._left = True
                    say(f"{error}. Left out; resuming the run by its name sends its metrics again")
                    return None
                if away:
                    time.sleep(PAUSE)
