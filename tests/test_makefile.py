"""`make` prepares an environment of the Python that is asked for, and mends one that is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with an environment that counts as ready."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python(tmp_path / ".venv" / "bin" / "python", "3.11")
    (tmp_path / ".venv" / "ready").touch()
    return tmp_path


def python(path: Path, version: str) -> str:
    """Stands for a Python: it answers as the one of the tests does, but with another version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    version_info = tuple(map(int, f"{version}.0".split(".")))
    script = f"import sys; sys.version_info = {version_info}; exec(sys.argv[2])"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{script}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "MAKEFLAGS")}
    return subprocess.run(
        ["make", *words], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )


def test_a_ready_environment_is_taken_as_it_is(folder):
    assert "venv" not in make(folder, "-n", "demo").stdout.replace(".venv/bin/python -m trainables", "")
    same = python(folder / "same", "3.11")
    assert "-m venv" not in make(folder, "-n", "demo", f"PYTHON={same}").stdout


def test_another_python_makes_the_environment_anew(folder):
    other = python(folder / "other", "3.13")
    assert f"{other} -m venv .venv" in make(folder, "-n", "demo", f"PYTHON={other}").stdout
    assert not (folder / ".venv").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(folder):
    (folder / ".venv" / "bin" / "python").unlink()
    assert "-m venv .venv" in make(folder, "-n", "demo").stdout


@pytest.mark.parametrize("version", ["3.10", "3.14", None])
def test_a_python_that_will_not_do_is_one_line_before_anything_is_touched(folder, version):
    wrong = str(folder / "nothing") if version is None else python(folder / "wrong", version)
    (folder / ".venv" / "ready").unlink()
    done = make(folder, "demo", f"PYTHON={wrong}")
    assert done.returncode and "Installing" not in done.stdout
    assert f"error: Python 3.11, 3.12 or 3.13 is needed, and {wrong} is not one" in done.stdout
    assert (folder / ".venv" / "bin" / "python").exists()
