"""Waits for an MLflow server that stopped answering, so that its absence ends neither a training nor a sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import tenacity

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
    if not store.answers(uri):
        say(f"waiting for MLflow at {store.public(uri)}, {PATIENCE:.0f} s at most")
        tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda answered: not answered),
            wait=tenacity.wait_fixed(PAUSE),
            stop=tenacity.stop_after_delay(PATIENCE),
            retry_error_callback=lambda _: None,
        )(store.answers, uri)
    store.probe(uri)


class _AwayError(Exception):
    """The server does not answer, so the call may succeed later."""


class Patient:
    """Calls that one server must take, but need not take now."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._left = False  # whether it was given up, until it answers again

    def __call__(self, doing: str, call: Callable[[], T]) -> T | None:
        """The result of `call`, which may be made several times; None if the server was given up.

        Raises TrackingError if the call fails twice although the server answers.
        """
        try:
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(_AwayError),
                wait=tenacity.wait_fixed(PAUSE),
                stop=tenacity.stop_after_delay(0 if self._left else PATIENCE),
                reraise=True,
            ):
                with attempt:
                    done = self._twice(doing, call)
        except _AwayError as error:
            self._left = True
            say(f"{error}. Left out; resuming the run by its name sends its metrics again")
            return None
        self._left = False
        return cast(T, done)

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(TrackingError),
        stop=tenacity.stop_after_attempt(2),
        reraise=True,
    )
    def _twice(self, doing: str, call: Callable[[], T]) -> T:
        try:
            with store.errors(self.uri, doing):
                return call()
        except TrackingError as error:
            if store.answers(self.uri):
                raise
            raise _AwayError(str(error)) from error
