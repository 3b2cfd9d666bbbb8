"""The harness of bad inputs finds what it looks for, and commands answer odd options.

A bounded part of its files is in tests/datasets/test_broken_inputs.py.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.hostile import judge
from benchmarks.hostile.cases import command_cases
from benchmarks.hostile.commands import attempt, commands
from benchmarks.hostile.judge import judged
from benchmarks.hostile.subjects import Read
from scenelift.errors import DataError

WHOLE = Read([1, 2], {})


def raising(error: BaseException):
    def attempt() -> Read:
        raise error

    return attempt


@pytest.mark.parametrize(
    ("attempt", "truth", "kind", "why"),
    [
        (raising(DataError("a.bin is empty")), "lost", "clear", "a.bin is empty"),
        (raising(DataError("it is empty")), "lost", "failed", "names neither file nor option"),
        (raising(DataError("a.bin: MemoryError")), "lost", "failed", "too much memory"),
        (raising(DataError("a.bin has pickles; use allow_pickle=True")), "lost", "failed", "run code"),
        (raising(KeyError("a.bin")), "lost", "failed", "KeyError"),
        (raising(AssertionError("a.bin")), "lost", "failed", "AssertionError"),
        (raising(SystemExit(2)), "lost", "failed", "SystemExit"),
        (lambda: Read([1, 2], {}), "lost", "tolerated", "as the whole file"),
        (lambda: Read([1, 3], {}), "lost", "failed", "[1] is 3, not 2"),
        (lambda: Read([1, 3], {}), "same", "failed", "silently"),
        (lambda: Read([1, 3], {"rows": 1}), "lost", "tolerated", "counted"),
        (lambda: print("a row is left out") or Read([1, 3], {}), "lost", "tolerated", "said"),
        (lambda: Read([1, 3], {}), "unknown", "tolerated", "may mean"),
    ],
)
def test_what_is_made_of_an_input_is_judged(attempt, truth, kind, why) -> None:
    verdict = judged(attempt, WHOLE, truth, {"a.bin"})
    assert verdict.kind == kind and why in verdict.why


def test_an_input_that_takes_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "SECONDS", 0.01)
    assert "took" in judged(lambda: time.sleep(0.05) or WHOLE, WHOLE, "lost", set()).why


def test_odd_options_are_refused_in_one_line_or_mean_what_they_say(tmp_path: Path) -> None:
    """Every 20th of the command lines; none reads data, trains, or writes outside of its folder."""
    listed = [one for one in commands() if not one.way.startswith("config ")][::20]
    failures = []
    for command in listed:
        verdict = judged(
            lambda one=command: attempt(one, tmp_path / "commands"), None, "unknown", command.names
        )
        if verdict.kind == "failed":
            failures.append(f"{command.module} {command.way}: {verdict.why}")
    assert not failures, "\n".join(failures)
    assert len(command_cases()) > 700
