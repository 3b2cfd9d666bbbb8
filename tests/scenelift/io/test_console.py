"""Progress without a terminal: what starts up before the first unit is not counted into the time that is left."""

from __future__ import annotations

import pytest

from scenelift.io import console
from scenelift.io.console import Meter


def test_the_remaining_time_is_that_of_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start of 60 s, then a unit a second: 38 are left after the second."""
    clock, said = [0.0], list[str]()
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(console, "say", said.append)
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: False, raising=False)
    with Meter("scoring", 40, "frames", every=0.5) as meter:
        for clock[0] in (60.0, 61.0):
            meter.add()
    assert said[:2] == ["scoring: 1/40 frames  ", "scoring: 2/40 frames, about 38 s left  "]
