"""Protects how commands end: Ctrl-C and SIGTERM are exceptions, whatever a library made of the signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import scenelift
from scenelift.config import cli
from scenelift.io.interrupts import Terminated, own_handlers, raise_interrupts


def test_handlers_of_libraries_are_put_back() -> None:
    with own_handlers():
        raise_interrupts()
        with own_handlers():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_is_interrupted_says_so_in_one_line(number: int, status: int) -> None:
    code = f"""
import os
from scenelift.config.cli import exiting
with exiting():
    os.kill(os.getpid(), {int(number)})
"""
    env = {**os.environ, "PYTHONPATH": str(Path(scenelift.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (status, "interrupted\n")


def test_what_was_interrupted_may_say_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with own_handlers(), pytest.raises(SystemExit, match="143"), cli.exiting():
        raise Terminated("interrupted; continue with: this")
    assert capsys.readouterr().err == "interrupted; continue with: this\n"
