"""Disks that are really full: a limit that the system sets to files, and a small file system of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """This process cannot make a file longer than `size` bytes; Python ignores the signal that comes with it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def on_small_disk(code: str, folder: Path, kilobytes: int) -> subprocess.CompletedProcess[str] | None:
    """Runs Python code in a process of its own whose `folder` is a file system of this size; None where none may be
    mounted."""
    mount = f"mount -t tmpfs -o size={kilobytes}k none {folder}"
    inside = ["unshare", "-rm", "sh", "-c"]
    try:
        if subprocess.run([*inside, mount], capture_output=True).returncode:
            return None
    except FileNotFoundError:
        return None
    return subprocess.run(
        [*inside, f'{mount} && exec "$@"', "sh", sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": "/usr/bin:/bin"},
    )
