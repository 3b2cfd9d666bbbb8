"""What can be said of students where there are no labels: how often they agree with the teacher, with each other,
and with themselves one sweep earlier, and how confident they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from scenelift.errors import DataError
from scenelift.evaluation.metrics import Counts, confusion, kappa
from scenelift.evaluation.scoring import score
from scenelift.inference.labeler import Labeler
from scenelift.nn.student import Student
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from trainables.common.agreement import agreement, sweep_alone
from trainables.common.scoring import Labels, Predictor, Predictors

MEANINGS = {
    "teacher": "with the teacher, on points that cameras see",
    "students": "with the second student",
    "sweeps": "with itself one sweep earlier, in the same voxels",
}
"""What a student's labels are compared with, the most telling first."""


@dataclass
class Unlabeled:
    """Counts of the student's labels (rows) and of what they are compared with (columns)."""

    vocabulary: Vocabulary
    agreements: dict[str, Counts] = field(default_factory=dict)
    """Of `MEANINGS` -> [C, C] counts."""
    confident: float = 0.0
    """Sum of the confidence of the student at all points."""
    points: int = 0
    trouble: dict[int, float] = field(default_factory=dict)
    """Frame index -> share of its points that are named differently, by the first of `MEANINGS` that there is; else
    1 - mean confidence."""

    def add(self, index: int, part: Unlabeled) -> None:
        """Count a further frame."""
        for name, counts in part.agreements.items():
            self.agreements[name] = self.agreements.get(name, 0) + counts
        self.confident, self.points = self.confident + part.confident, self.points + part.points
        compared = next(
            (part.agreements[n] for n in MEANINGS if part.agreements.get(n, np.zeros(1)).any()), None
        )
        if compared is not None:
            self.trouble[index] = float(1 - np.trace(compared) / compared.sum())
        elif part.points:
            self.trouble[index] = 1 - part.confident / part.points

    def metrics(self) -> dict[str, float]:
        """Cohen's kappa of each agreement, and the mean confidence, by name."""
        values = {f"unlabeled/agreement_{name}": kappa(counts) for name, counts in self.agreements.items()}
        return values | {"unlabeled/confidence": self.confident / max(1, self.points)}

    def table(self) -> str:
        """The figures as plain text."""
        lines = [
            "no labels to score on; agreement of the student (Cohen's kappa, and share of the same name):"
        ]
        for name, meaning in MEANINGS.items():
            if (counts := self.agreements.get(name)) is not None and counts.sum():
                share = np.trace(counts) / counts.sum()
                lines.append(f"  {meaning:<48}{kappa(counts):>8.3f}{share:>8.1%} of {counts.sum():,}")
        lines.append(
            f"mean confidence {self.confident / max(1, self.points):.3f} over {self.points:,} points"
        )
        return "\n".join(lines)


def evaluate(shards: Shards, make: Predictors, title: str, workers: int = 1, gpus: float = 0.0) -> Unlabeled:
    """Compare the predictors on all frames; DataError without a student."""
    if "student" not in make.students:
        raise DataError(
            f"{shards.path} has no labels, so a teacher alone cannot be scored on it; give --student too, or "
            "labeled shards"
        )
    found = Unlabeled(shards.vocabulary)
    for index, part in enumerate(score(shards, _Comparer(make), title, workers, gpus)):
        found.add(index, part)
    return found


@dataclass(frozen=True)
class _Comparer:
    """Builds, in a scoring process, the function that compares on some frames."""

    make: Predictors

    def __call__(self, device: torch.device) -> Callable[[list[Frame]], Unlabeled]:
        predictors = self.make(device)
        student = predictors["student"]
        assert isinstance(student, Student)
        labeler = Labeler(student)

        def compare(frames: list[Frame]) -> Unlabeled:
            (frame,) = frames  # one at a time, as each is ranked
            said = labeler.label_frame(frame)
            labels = said.ids.astype(np.uint8)
            found = Unlabeled(self.make.vocabulary)
            found.agreements = dict(_agreements(frame, labels, student, predictors))
            found.confident, found.points = float(said.confidence.sum(dtype=np.float64)), len(labels)
            return found

        return compare


def _agreements(
    frame: Frame, labels: Labels, student: Student, predictors: Mapping[str, Predictor]
) -> Iterator[tuple[str, Counts]]:
    classes = len(student.vocabulary.classes)
    if "teacher" in predictors and frame.images:
        yield "teacher", confusion(labels, predictors["teacher"].predict(frame), classes)
    if "against" in predictors:
        yield "students", confusion(labels, predictors["against"].predict(frame), classes)
    if frame.sweep.max(initial=0):
        earlier = sweep_alone(frame, 1)
        before = earlier.points, student.predict(earlier)
        now = frame.points[frame.keyframe], labels
        yield "sweeps", agreement(now, before, student.config.voxels.size, classes)
