"""Checkpoints of a run, on any file system: each whole or not there, the newest and the best kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Validation metric that the best is chosen by, the larger the better; None: it was not validated for that."""

    @classmethod
    def at(cls, folder: Location) -> Checkpoint | None:
        """The checkpoint in a folder; None if there is none that is whole."""
        about = folders.about(folder)
        return None if about is None else cls(str(folder), about["step"], about["score"])

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """A local folder with its files, for reading."""
        with folders.fetched(self.folder) as folder:
            yield folder

    def state(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Everything beside the student: optimizer, schedule, scaler, random states, position."""
        with folders.fetched(self.folder, [_STATE]) as folder:
            return read_state(folder, device)


def read_state(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """`Checkpoint.state` of one that is fetched."""
    state = torch.load(folder / _STATE, map_location=device, weights_only=True)
    return files.accept(state, folder / _STATE, VERSION, MIGRATIONS)


class Checkpoints:
    """The checkpoint folder of one run. Small to pickle.

    A checkpoint that was not written to its end, or is being deleted, is none (see `scenelift.io.folders`).
    """

    def __init__(self, folder: Location, keep: int = 2) -> None:
        assert keep >= 1
        self.folder, self.keep = str(folder), keep

    @property
    def local(self) -> bool:
        """Whether checkpoints lie on a disk that this machine can look at."""
        return storage.is_local(storage.resolve(self.folder)[0])

    @property
    def workplace(self) -> str:
        """The local folder in which they are written; those of a bucket are copied from there."""
        return storage.absolute(self.folder) if self.local else tempfile.gettempdir()

    def all(self) -> list[Checkpoint]:
        """Every whole checkpoint, oldest first."""
        return [found for found in map(Checkpoint.at, self._there()) if found is not None]

    def _there(self) -> list[str]:
        """Every folder that has the name of a checkpoint, whole or not."""
        names = storage.list_folders(*storage.resolve(self.folder))
        return [storage.join(self.folder, name) for name in names if name.startswith("step-")]

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None."""
        found = self.all()
        return found[-1] if found else None

    def best(self) -> Checkpoint | None:
        """The checkpoint of the highest score (the earlier of equals), or None."""
        return _best(self.all())

    def save(
        self, step: int, student: Trained, state: dict[str, Any], score: float | None = None
    ) -> Checkpoint:
        """Write one checkpoint; StorageError, with the older ones as they were, if it cannot be written."""
        final = self._named(step)
        try:
            with folders.written(final, {"step": step, "score": score}) as folder:
                student.save(folder)
                torch.save(files.stamp(state, VERSION), folder / _STATE)
        except StorageError as error:
            raise StorageError(f"the checkpoint of step {step} is not written: {error}{_CONTINUE}") from error
        except RuntimeError as error:  # what torch makes of a full disk
            raise StorageError(
                f"cannot write the checkpoint {final}: {error}; make room there{_CONTINUE}"
            ) from error
        self._prune()
        return Checkpoint(final, step, score)

    def adopt(self, source: Checkpoint) -> None:
        """Make a checkpoint of another run the only one."""
        folders.remove(self.folder)
        with (
            source.fetched() as there,
            folders.written(self._named(source.step), {"step": source.step, "score": source.score}) as here,
        ):
            for file in there.iterdir():
                if file.name != folders.DONE:
                    (here / file.name).write_bytes(file.read_bytes())

    def _named(self, step: int) -> str:
        return storage.join(self.folder, f"step-{step:08d}")

    def _prune(self) -> None:
        """Delete what is neither new nor the best, and what killed workers left."""
        found = self.all()
        kept = {checkpoint.folder for checkpoint in [*found[-self.keep :], *filter(None, [_best(found)])]}
        for path in self._there():
            if path not in kept:
                folders.remove(path)


def _best(found: list[Checkpoint]) -> Checkpoint | None:
    scored = [(checkpoint.score, checkpoint) for checkpoint in found if checkpoint.score is not None]
    return max(scored, key=lambda pair: pair[0], default=(None, None))[1]
