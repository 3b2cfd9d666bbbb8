"""Checkpoints of a run, on any file system: each complete or absent; the newest and the best are kept."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scenelift.config import files
from scenelift.errors import StorageError, TrainingError, reason
from scenelift.io import folders, storage
from scenelift.io.storage import Location
from scenelift.train.method import Trained

_STATE = "training.pt"
VERSION = 1
MIGRATIONS: files.Migrations = {}
_CONTINUE = "; then continue with --run.resume true"


@dataclass(frozen=True)
class Checkpoint:
    """One finished checkpoint folder, `step-00000400/`."""

    folder: str
    """Local path or URI."""
    step: int
    score: float | None
    """Validation metric of which the largest is the best; None: it was not validated."""

    @classmethod
    def at(cls, folder: Location) -> Checkpoint | None:
        """The checkpoint in a folder; None if it is incomplete or absent."""
        about = folders.about(folder)
        step, score = (about or {}).get("step"), (about or {}).get("score")
        if not isinstance(step, int) or not isinstance(score, int | float | None):
            return None
        return cls(str(folder), step, score)

    def fetched(self) -> AbstractContextManager[Path]:
        """A local folder with its files, for reading."""
        return folders.fetched(self.folder)

    def intact(self) -> bool:
        """Whether its files have the content that was written: reads all of them."""
        with self.fetched() as folder:
            return folders.intact(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """Everything besides the student in a fetched folder: optimizer, schedule, scaler, random states, position.

    TrainingError if it cannot be read.
    """
    try:
        state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each raise their own
        raise TrainingError(
            f"{folder / _STATE} is damaged ({reason(error)}); delete its folder, then an older one is taken"
        ) from None
    return files.accept(state, folder / _STATE, VERSION, MIGRATIONS)


def _write_state(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(files.stamp(state, VERSION), path)
    except RuntimeError as error:  # what torch makes of a full disk
        raise storage.unwritten(path, error) from error


class Checkpoints:
    """The checkpoint folder of one run. Small to pickle. Incomplete checkpoints do not count (`io.folders`)."""

    def __init__(self, folder: Location, keep: int = 2) -> None:
        assert keep >= 1
        self.folder, self.keep = str(folder), keep

    @property
    def local(self) -> bool:
        """Whether checkpoints lie on a local file system."""
        return storage.is_local(storage.resolve(self.folder)[0])

    @property
    def workplace(self) -> str:
        """The local folder in which checkpoints are written before they are copied to a bucket."""
        return storage.absolute(self.folder) if self.local else tempfile.gettempdir()

    def all(self) -> list[Checkpoint]:
        """Every complete checkpoint, oldest first."""
        return [checkpoint for checkpoint in map(Checkpoint.at, self._folders()) if checkpoint is not None]

    def _folders(self) -> list[str]:
        """Every folder with the name of a checkpoint, complete or not."""
        names = storage.list_folders(*storage.resolve(self.folder))
        return [storage.join(self.folder, name) for name in names if re.fullmatch(r"step-\d{8,}", name)]

    def latest(self) -> Checkpoint | None:
        """The newest complete checkpoint, or None."""
        return next(reversed(self.all()), None)

    def best(self) -> Checkpoint | None:
        """The checkpoint of the highest score (the earlier of equals), or None."""
        return _best(self.all())

    def save(
        self, step: int, student: Trained, state: dict[str, Any], score: float | None = None
    ) -> Checkpoint:
        """Write a checkpoint; StorageError if it cannot be written, and the older ones remain."""
        final = self._named(step)
        try:
            with folders.written(final, {"step": step, "score": score}) as folder:
                student.save(folder)
                _write_state(state, folder / _STATE)
        except StorageError as error:
            raise StorageError(f"the checkpoint of step {step} is not written: {error}{_CONTINUE}") from error
        self._prune()
        return Checkpoint(final, step, score)

    def adopt(self, source: Checkpoint) -> None:
        """Make a checkpoint of another run the only one; StorageError if it is damaged."""
        for each in filter(folders.ours, self._folders()):
            folders.remove(each)
        with source.fetched() as origin:
            if not folders.intact(origin):
                raise StorageError(f"{source.folder} is damaged: its files are not those that were written")
            about = {"step": source.step, "score": source.score}
            with folders.written(self._named(source.step), about) as target:
                shutil.copytree(origin, target, dirs_exist_ok=True, ignore=lambda *_: [folders.DONE])

    def _named(self, step: int) -> str:
        return storage.join(self.folder, f"step-{step:08d}")

    def _prune(self) -> None:
        """Delete incomplete checkpoints and those that are neither new nor the best."""
        complete = self.all()
        kept = {each.folder for each in [*complete[-self.keep :], _best(complete)] if each is not None}
        for path in self._folders():
            if path not in kept and folders.ours(path):
                folders.remove(path)


def _best(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    scored = [(each.score, each) for each in checkpoints if each.score is not None]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]
