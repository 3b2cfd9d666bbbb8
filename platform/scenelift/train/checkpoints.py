"""Checkpoints of a run, on any file system: each complete or absent; the newest and the best are kept."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scenelift.config import files
from scenelift.errors import StorageError
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
        return None if about is None else cls(str(folder), about["step"], about["score"])

    def fetched(self) -> AbstractContextManager[Path]:
        """A local folder with its files, for reading."""
        return folders.fetched(self.folder)


def read_state(folder: Path) -> dict[str, Any]:
    """Everything besides the student in a fetched folder: optimizer, schedule, scaler, random states, position."""
    state = torch.load(folder / _STATE, map_location="cpu", weights_only=True)
    return files.accept(state, folder / _STATE, VERSION, MIGRATIONS)


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
        return [storage.join(self.folder, name) for name in names if name.startswith("step-")]

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
                torch.save(files.stamp(state, VERSION), folder / _STATE)
        except StorageError as error:
            raise StorageError(f"the checkpoint of step {step} is not written: {error}{_CONTINUE}") from error
        except RuntimeError as error:  # what torch makes of a full disk
            raise StorageError(f"cannot write {final}: {error}; make room there{_CONTINUE}") from error
        self._prune()
        return Checkpoint(final, step, score)

    def adopt(self, source: Checkpoint) -> None:
        """Make a checkpoint of another run the only one."""
        folders.remove(self.folder)
        with (
            source.fetched() as origin,
            folders.written(self._named(source.step), {"step": source.step, "score": source.score}) as target,
        ):
            shutil.copytree(origin, target, dirs_exist_ok=True, ignore=lambda *_: [folders.DONE])

    def _named(self, step: int) -> str:
        return storage.join(self.folder, f"step-{step:08d}")

    def _prune(self) -> None:
        """Delete incomplete checkpoints and those that are neither new nor the best."""
        complete = self.all()
        kept = {each.folder for each in [*complete[-self.keep :], _best(complete)] if each is not None}
        for path in self._folders():
            if path not in kept:
                folders.remove(path)


def _best(checkpoints: list[Checkpoint]) -> Checkpoint | None:
    scored = [(each.score, each) for each in checkpoints if each.score is not None]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]
