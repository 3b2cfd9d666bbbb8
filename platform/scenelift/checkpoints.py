"""Checkpoints of a run: written whole or not at all, the last few and the best kept."""

from __future__ import annotations

import json
import math
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scenelift.errors import StorageError
from scenelift.methods import Trained

_STATE = "training.pt"
_SUMMARY = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """One finished checkpoint folder, `step-00000400/`."""

    folder: Path
    step: int
    loss: float
    """Mean training loss since the checkpoint before; the smallest is the best."""

    def state(self, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Everything beside the student: optimiser, schedule, scaler, random states, position."""
        return torch.load(self.folder / _STATE, map_location=device, weights_only=True)


class Checkpoints:
    """The checkpoint folder of one run.

    A folder appears by one rename when it is complete, so whatever has the name of a checkpoint is whole.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        assert keep >= 1
        self.folder, self.keep = folder, keep

    def all(self) -> list[Checkpoint]:
        """Every whole checkpoint, oldest first."""
        found = []
        for path in sorted(self.folder.glob("step-*")):
            summary = json.loads((path / _SUMMARY).read_text())
            found.append(Checkpoint(path, summary["step"], summary["loss"]))
        return found

    def latest(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None."""
        found = self.all()
        return found[-1] if found else None

    def best(self) -> Checkpoint | None:
        """The checkpoint of least training loss (the later of equals), or None."""
        found = [c for c in reversed(self.all()) if math.isfinite(c.loss)]
        return min(found, key=lambda c: c.loss, default=None)

    def admit(self, folder: Path) -> None:
        """Give a whole checkpoint, copied from another run to a folder beside these, the name of its step."""
        step = json.loads((folder / _SUMMARY).read_text())["step"]
        folder.rename(self.folder / f"step-{step:08d}")

    def save(self, step: int, loss: float, student: Trained, state: dict[str, Any]) -> Checkpoint:
        """Write one checkpoint; StorageError if the disk is full."""
        final = self.folder / f"step-{step:08d}"
        partial = self.folder / f".partial-{step:08d}-{uuid.uuid4().hex[:8]}"
        try:
            partial.mkdir(parents=True)
            student.save(partial)
            torch.save(state, partial / _STATE)
            (partial / _SUMMARY).write_text(json.dumps({"step": step, "loss": loss}))
            self._discard(final)
            partial.rename(final)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StorageError(
                f"cannot write the checkpoint {final}: {error}; make room there, then continue with "
                "--run.resume true"
            ) from error
        self._prune()
        return Checkpoint(final, step, loss)

    def _prune(self) -> None:
        found = self.all()
        kept = {c.folder for c in found[-self.keep :]}
        best = self.best()
        if best:
            kept.add(best.folder)
        for checkpoint in found:
            if checkpoint.folder not in kept:
                self._discard(checkpoint.folder)
        for leftover in (*self.folder.glob(".partial-*"), *self.folder.glob(".old-*")):
            shutil.rmtree(leftover, ignore_errors=True)

    def _discard(self, folder: Path) -> None:
        """Delete a checkpoint; renamed first, since a folder that is half deleted must not look whole."""
        if folder.exists():
            doomed = folder.with_name(f".old-{folder.name}-{uuid.uuid4().hex[:8]}")
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
