"""The provenance of a run as tags: its command, code and versions."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from scenelift.io import secrets


def tags() -> dict[str, str]:
    """Command, user, git commit and whether the tree was dirty, versions."""
    command = program()
    values = {
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": command,
        "command": secrets.command([*command.split(), *sys.argv[1:]]),
        "ray": version("ray"),
        "torch": version("torch"),
    }
    try:
        values["mlflow.user"] = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        values["mlflow.user"] = str(os.getuid())
    return values | _git(Path(__file__))


def program() -> str:
    """How the command was started, without its options: `python -m trainables.distill`."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name


def _git(file: Path) -> dict[str, str]:
    """Commit of the repository that tracks `file`, and whether anything in it differs; {} if none does."""
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}

    def git(*options: str) -> str:
        words = ["git", "-C", str(file.parent), *options]
        return subprocess.check_output(words, env=env, stderr=subprocess.PIPE, text=True, timeout=10).strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        commit = git("rev-parse", "HEAD")
        return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(git("status", "--porcelain")))}
    except (OSError, subprocess.SubprocessError):
        return {}
