"""The list of bad inputs, and the place where they are made and tried: a folder of each subject's files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.hostile.formats import mutations_of
from benchmarks.hostile.judge import Verdict, judged
from benchmarks.hostile.subjects import DATA, Read, Subject

if TYPE_CHECKING:
    from benchmarks.hostile.commands import Command


def subject_of(name: str) -> Subject:
    """A subject by name; files of our own need more imports, which take seconds."""
    if name in DATA:
        return DATA[name]
    from benchmarks.hostile.own import OWN

    return OWN[name]


def subjects() -> dict[str, Subject]:
    """All of them."""
    from benchmarks.hostile.own import OWN

    return {**DATA, **OWN}


@dataclass(frozen=True)
class Case:
    """One bad input: a file of a subject, broken in one way; or one command line."""

    subject: str
    file: str
    way: str

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return f"{self.subject}: {self.file}: {self.way}"


@cache
def command_cases() -> dict[Case, Command]:
    """The command lines, by case."""
    from benchmarks.hostile.commands import commands

    return {Case("commands", one.module, one.way): one for one in commands()}


def cases(folder: Path, wanted: Collection[str] | None = None) -> Iterator[Case]:
    """Every case of the wanted subjects (None: all); their files are written into the folder to list them."""
    for name in [*subjects(), "commands"] if wanted is None else wanted:
        if name == "commands":
            yield from command_cases()
            continue
        root = folder / name
        subject_of(name).write(root)
        for file in subject_of(name).kinds(root):
            for way in mutations_of(file):
                yield Case(name, str(file), way)


class Bench:
    """Whole files of each subject, which are broken one at a time and mended again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.whole: dict[str, Read] = {}

    def tree(self, name: str) -> Path:
        """The whole files of a subject, written at its first case."""
        root = self.folder / name
        if name not in self.whole:
            if not root.exists():
                subject_of(name).write(root)
            self.whole[name] = subject_of(name).read(root)
        return root

    def tried(self, case: Case, within: AbstractContextManager[object] | None = None) -> tuple[str, Verdict]:
        """What tells a case's input from others of its file (empty: its way does not change this file), and the
        verdict. within: limits of the attempt."""
        if case.subject == "commands":
            from benchmarks.hostile.commands import attempt, warm

            command = command_cases()[case]
            warm(command)
            with within or nullcontext():
                verdict = judged(
                    lambda: attempt(command, self.folder / "commands"), None, "unknown", command.names
                )
            return case.way, verdict
        path = self.tree(case.subject) / case.file
        whole = path.read_bytes()
        try:
            content = self.broken(case, path)
            if not content:
                return "", Verdict("tolerated", "the way does not change this file")
            with within or nullcontext():
                return content, self._judged(case, path)
        finally:
            mend(path, whole)

    def broken(self, case: Case, path: Path) -> str:
        """Break the file of a case; what tells it from others, empty if its way does not change it."""
        before = path.read_bytes()
        with suppress(Exception):  # ways for files of another form
            mutations_of(path)[case.way].apply(path)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > 1 << 30:
            return case.way
        data = path.read_bytes()
        return "" if data == before else hashlib.sha256(data).hexdigest()

    def _judged(self, case: Case, path: Path) -> Verdict:
        truth, subject = mutations_of(path)[case.way].truth, subject_of(case.subject)
        folder = path.parent.relative_to(self.folder / case.subject)
        names = {path.name, path.stem, path.name.partition(".")[0], str(folder)} - {"", "."}
        root = self.folder / case.subject
        if path.suffix in (".json", ".txt", ".csv", ".tsv"):  # lists and tables lead to other files
            names |= {other.name for other in root.rglob("*") if other.is_file()}
        return judged(lambda: subject.read(root), self.whole[case.subject], truth, names)


def mend(path: Path, data: bytes) -> None:
    """Put a whole file in the place of whatever is there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()
    path.write_bytes(data)
