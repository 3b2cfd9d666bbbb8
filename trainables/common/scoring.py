"""Scores of segmentation: predictors of the labels of points, and their confusion matrices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from scenelift.errors import DataError
from scenelift.evaluation.config import Absent
from scenelift.evaluation.metrics import Counts, Scores, confusion, scores
from scenelift.evaluation.scoring import score
from scenelift.io.storage import Location
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import VoxelConfig
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards

if TYPE_CHECKING:
    from scenelift.teachers.clip import DenseClip
    from scenelift.teachers.config import TeacherConfig

Labels = NDArray[np.uint8]
GROUPS = ("all", "seen", "unseen")
"""All points; those that a camera sees; the others."""


class Predictor(Protocol):
    """Predicts the labels of the points of a frame."""

    def predict(self, frame: Frame) -> Labels:
        """[N_k] predicted labels 1..C of the keyframe's points, 0 for no prediction."""


@dataclass(frozen=True)
class Predictors:
    """Builds the predictors of a segmentation run: saved students by name, and the teacher."""

    vocabulary: Vocabulary
    students: Mapping[str, Location]
    """Name -> folder that `Student.save` wrote, an absolute path or a URI."""
    teacher: TeacherConfig | None = None

    def __call__(self, device: torch.device) -> dict[str, Predictor]:
        students = {name: Student.load(path).to(device) for name, path in self.students.items()}
        predictors: dict[str, Predictor] = {**students}
        if self.teacher is not None:
            from scenelift.teachers.clip import build_teacher  # slow to import

            predictors["teacher"] = TeacherPredictor(build_teacher(self.teacher, self.vocabulary).to(device))
        return predictors


class TeacherPredictor:
    """The teacher's labels, projected to the points that cameras see."""

    def __init__(self, teacher: DenseClip) -> None:
        self.teacher = teacher

    def predict(self, frame: Frame) -> Labels:
        """Argmax of a point's scores, averaged over the images that show it; 0 for points that no camera sees."""
        batch = Collate(VoxelConfig())([frame]).to(self.teacher.text.device)
        pair_scores = self.teacher.pixel_scores(batch.images, *batch.pair_pixels.unbind(1))
        total = pair_scores.new_zeros(len(batch.labels), pair_scores.shape[1])
        total.index_add_(0, batch.pair_points, pair_scores)
        labels = total.argmax(1) + 1
        seen = torch.zeros_like(labels, dtype=torch.bool).index_fill_(0, batch.pair_points, True)
        return torch.where(seen, labels, 0).to(torch.uint8).cpu().numpy()


@dataclass
class Evaluation:
    """Confusion matrices of predictors over a split."""

    vocabulary: Vocabulary
    matrices: dict[str, dict[str, Counts]] = field(default_factory=dict)
    """Predictor -> group of points -> [C, C] counts."""
    kept: dict[int, dict[str, Labels]] = field(default_factory=dict)
    """Frame index -> predictor -> its labels, for the frames that are drawn."""

    def add(self, other: Evaluation) -> None:
        """Count further frames, or further predictors on the same ones."""
        for name, groups in other.matrices.items():
            known = self.matrices.setdefault(name, {})
            for group, counts in groups.items():
                known[group] = known.get(group, 0) + counts
        for index, labels in other.kept.items():
            self.kept.setdefault(index, {}).update(labels)

    def scores(self, name: str, group: str = "all", absent: Absent = "leave out") -> Scores:
        """Scores of one predictor on one group of points."""
        return scores(self.matrices[name][group], self.vocabulary, absent)


Make = Callable[[torch.device], Mapping[str, Predictor]]
"""Builds predictors by name on a device, in the process that runs them."""


def evaluate(
    shards: Shards, make: Make, title: str, keep: Collection[int] = (), workers: int = 1, gpus: float = 0.0
) -> Evaluation:
    """Run the predictors over all frames; DataError if the shards have no labels.

    keep: indices of the frames whose predicted labels are kept.
    """
    evaluation = Evaluation(shards.vocabulary)
    scorer = _Scorer(make, shards.vocabulary, {shards.tokens[index]: index for index in keep})
    for part in score(shards, scorer, title, workers, gpus):
        evaluation.add(part)
    return evaluation


@dataclass(frozen=True)
class _Scorer:
    """Builds, in a scoring process, the function that scores some frames."""

    make: Make
    vocabulary: Vocabulary
    keep: Mapping[str, int]
    """Token -> index of the frames whose labels are kept."""

    def __call__(self, device: torch.device) -> Callable[[list[Frame]], Evaluation]:
        predictors = self.make(device)

        def count(frames: list[Frame]) -> Evaluation:
            evaluation = Evaluation(self.vocabulary)
            for frame in frames:
                evaluation.add(self._count(frame, predictors))
            return evaluation

        return count

    def _count(self, frame: Frame, predictors: Mapping[str, Predictor]) -> Evaluation:
        if frame.labels is None:
            raise DataError(f"frame {frame.token} has no labels, so nothing can be scored on it")
        truth, seen = frame.labels[frame.keyframe], frame.seen[frame.keyframe]
        groups = dict(zip(GROUPS, (np.ones_like(seen), seen, ~seen), strict=True))
        evaluation, classes = Evaluation(self.vocabulary), len(self.vocabulary.classes)
        for name, predictor in predictors.items():
            labels = predictor.predict(frame)
            evaluation.matrices[name] = {
                group: confusion(truth[part], labels[part], classes) for group, part in groups.items()
            }
            if frame.token in self.keep:
                evaluation.kept.setdefault(self.keep[frame.token], {})[name] = labels
        return evaluation
