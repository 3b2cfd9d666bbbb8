"""Scores of all scans, by which they are sorted: computed in the background, and kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from scenelift.errors import SceneliftError
from scenelift.io import storage
from scenelift.io.console import say
from scenelift.viewer.answers import Answers
from scenelift.viewer.explorer import STUDENT, TEACHER, Explorer
from scenelift.viewer.scans.places import digest

if TYPE_CHECKING:
    from torch import nn

Order = Literal["scene", "error", "disagreement", "confidence"]
ORDERS: dict[Order, str] = {
    "scene": "as in the data",
    "error": "share of labeled points that are wrong, the most first",
    "disagreement": "share of points that two say different things of, the most first",
    "confidence": "mean confidence, the least first",
}
SAVED_EVERY = 20
"""Scans between two savings."""


@dataclass(frozen=True)
class ScanScores:
    """Shares 0..1 of one scan; None: it cannot be said."""

    error: float | None
    disagreement: float | None
    confidence: float | None


def scores_of(explorer: Explorer, index: int) -> ScanScores:
    """Of one scan; all None for one that cannot be read."""
    try:
        view = explorer.scans.read(index)
        answered = explorer.students or explorer.answers.taught(view) is not None
        error = _share(*explorer.wrong(view, STUDENT if explorer.students else TEACHER)) if answered else None
        confidence = None
        if explorer.students and len(view.points):
            confidence = float(explorer.answers.student(STUDENT, view).confidence.mean())
        return ScanScores(error, _share(*explorer.apart(view)), confidence)
    except SceneliftError as error:
        say(f"{explorer.scans.names[index]} is left out of the order: {error}")
        return ScanScores(None, None, None)


class Ranking:
    """The scores of all scans of an explorer. `start` computes what is missing in a thread; any thread may read."""

    def __init__(self, explorer: Explorer, folder: str) -> None:
        """folder: where the scores are kept, in a file whose name follows from scans, students and teacher."""
        self.explorer = explorer
        self._scorer = Explorer(explorer.scans, Answers(explorer.answers.students, explorer.answers.teacher))
        self.path = Path(folder).expanduser() / f"scores-{_key(explorer)}.json"
        self.scores: dict[int, ScanScores] = self._load()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def total(self) -> int:
        """Number of scans."""
        return len(self.explorer.scans.names)

    @property
    def done(self) -> bool:
        """Whether all scans are scored."""
        return len(self.scores) == self.total

    @property
    def useful(self) -> bool:
        """Whether there is anybody to score."""
        return bool(self.explorer.students) or self.explorer.answers.teacher is not None

    def order(self, by: Order) -> list[int]:
        """All scans; those without this score at the end, in the order of the data."""
        everything = range(self.total)
        if by == "scene":
            return list(everything)
        known = {index: getattr(scores, by) for index, scores in dict(self.scores).items()}
        sign = 1 if by == "confidence" else -1
        found = [index for index in everything if known.get(index) is not None]
        rest = [index for index in everything if known.get(index) is None]
        return sorted(found, key=lambda index: sign * known[index]) + rest

    def start(self, progress: Callable[[int, int], None]) -> None:
        """Score what is missing, in a thread; progress: called with the number of scored scans, and of all."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopped.clear()
        self._thread = threading.Thread(target=self._score, args=(progress,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its present scan, and save."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def compute(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Score what is missing, and save it."""
        self._stopped.clear()
        self._score(progress)

    def _score(self, progress: Callable[[int, int], None]) -> None:
        for index in range(self.total):
            if self._stopped.is_set():
                break
            if index not in self.scores:
                self.scores[index] = scores_of(self._scorer, index)
                if len(self.scores) % SAVED_EVERY == 0:
                    self._save()
            progress(len(self.scores), self.total)
        self._save()

    def _save(self) -> None:
        text = json.dumps({index: vars(scores) for index, scores in sorted(self.scores.items())}, indent=0)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            storage.write_text(str(self.path), text)
        except (OSError, SceneliftError) as error:
            say(f"the scores of scans are not kept: {error}")

    def _load(self) -> dict[int, ScanScores]:
        try:
            values = json.loads(self.path.read_bytes())
            return {int(index): ScanScores(**scores) for index, scores in values.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError):
            say(f"{self.path} cannot be read, so scans are scored again")
            return {}


def _key(explorer: Explorer) -> str:
    answers = explorer.answers
    who = [fingerprint(labeler.student) for labeler in answers.students.values()]
    if (teacher := answers.teacher) is not None:
        who += [fingerprint(teacher), repr(teacher.config), teacher.vocabulary.version]
    return digest(json.dumps([explorer.scans.key, *who]))


def fingerprint(module: nn.Module) -> str:
    """Changes with the weights."""
    return digest(repr([(name, _checksum(value)) for name, value in sorted(module.state_dict().items())]))


def _checksum(value: torch.Tensor) -> str:
    return digest(value.detach().cpu().float().contiguous().numpy().tobytes())


def _share(counted: NDArray[np.bool_], bad: NDArray[np.bool_]) -> float | None:
    return float(bad.sum() / counted.sum()) if counted.any() else None
