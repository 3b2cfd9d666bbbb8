"""Scores of segmentation: predictors of the labels of points, their confusion matrices, and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

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
    from scenelift.teachers.config import TeacherConfig
    from scenelift.teachers.teacher import Teacher

Labels = NDArray[np.uint8]
GROUPS = ("all", "seen", "unseen")
"""All points; those that a camera sees; the others."""

HowLearned = Literal["label_free", "labeled"]
"""How a student learned the classes: from text alone, or from labels; prefix of its metrics."""
_GROUP = {"student": "all", "against": "all", "teacher": "seen", "random": "all"}
"""Predictor -> the points of its headline score: a teacher predicts only points that cameras see."""
_JUDGED = ("student", "teacher")
"""Predictors by whose errors frames are chosen to be drawn; the first that there is."""


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

    def __init__(self, teacher: Teacher) -> None:
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
    trouble: dict[int, float] = field(default_factory=dict)
    """Frame index -> share of its labeled points that the student, or else the teacher, gets wrong."""

    def add(self, other: Evaluation) -> None:
        """Count further frames, or further predictors on the same ones."""
        for name, groups in other.matrices.items():
            known = self.matrices.setdefault(name, {})
            for group, counts in groups.items():
                known[group] = known.get(group, 0) + counts
        self.trouble |= other.trouble

    def scores(self, name: str, group: str = "all", absent: Absent = "leave out") -> Scores:
        """Scores of one predictor on one group of points."""
        return scores(self.matrices[name][group], self.vocabulary, absent)


Make = Callable[[torch.device], Mapping[str, Predictor]]
"""Builds predictors by name on a device, in the process that runs them."""


def evaluate(shards: Shards, make: Make, title: str, workers: int = 1, gpus: float = 0.0) -> Evaluation:
    """Run the predictors over all frames; DataError if the shards have no labels."""
    evaluation = Evaluation(shards.vocabulary)
    scorer = _Scorer(make, shards.vocabulary)
    for index, part in enumerate(score(shards, scorer, title, workers, gpus)):
        evaluation.add(part)
        judged = next((headline(part, name) for name in _JUDGED if name in part.matrices), None)
        if judged is not None and judged.any():
            evaluation.trouble[index] = float(1 - np.trace(judged) / judged.sum())
    require_points(evaluation, shards.path)
    return evaluation


def require_points(evaluation: Evaluation, path: str) -> None:
    """DataError where a predictor was scored on no point at all: its score would be 0 and mean nothing."""
    empty = [
        name for name in evaluation.matrices if not evaluation.matrices[name][_GROUP.get(name, "all")].sum()
    ]
    if empty:
        raise DataError(
            f"{path} has no labeled point that {' or '.join(empty)} predicts, so nothing can be scored; look at "
            "its labels, calibration and class list"
        )


@dataclass(frozen=True)
class _Scorer:
    """Builds, in a scoring process, the function that scores some frames."""

    make: Make
    vocabulary: Vocabulary

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
        return evaluation


def headline(evaluation: Evaluation, name: str) -> Counts:
    """[C, C] counts of the points of a predictor's headline score."""
    return evaluation.matrices[name][_GROUP[name]]


def metrics(
    evaluation: Evaluation, absent: Absent = "leave out", protocol: HowLearned = "label_free"
) -> dict[str, float]:
    """Fractions by name, such as label_free/miou, label_free/miou_seen, label_free/iou/car, teacher/miou."""
    values: dict[str, float] = {}
    for name in evaluation.matrices:
        prefix, group = protocol if name == "student" else name, _GROUP[name]
        headline = evaluation.scores(name, group, absent)
        values[f"{prefix}/miou"] = headline.miou
        values[f"{prefix}/accuracy"] = headline.accuracy
        if group == "all":
            for part in GROUPS[1:]:
                if (scored := evaluation.scores(name, part, absent)).points:  # a score of nothing is none
                    values[f"{prefix}/miou_{part}"] = scored.miou
        for label, iou in headline.iou.items():
            values[f"{prefix}/iou/{label}"] = iou
    return values


def class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per class: its fraction of the labeled points, and each predictor's IoU or None."""
    headline = {name: evaluation.scores(name, _GROUP[name]) for name in evaluation.matrices}
    first = next(iter(evaluation.matrices.values()))["all"]
    share = first.sum(1) / max(1, first.sum())
    rows = []
    for i, label in enumerate(evaluation.vocabulary.classes):
        iou = {f"{name}_iou": scores.iou.get(label) for name, scores in headline.items()}
        rows.append({"class": label, "share_of_points": round(float(share[i]), 4), **iou})
    return rows


def table(evaluation: Evaluation, absent: Absent = "leave out") -> str:
    """The score table as plain text: predictors as rows, then the classes."""
    lines = [f"{'':<10}{'points':>10}{'mIoU':>8}{'seen':>8}{'unseen':>8}{'accuracy':>10}"]
    for name in ("random", "teacher", "against", "student"):
        if name in evaluation.matrices:
            parts = {group: evaluation.scores(name, group, absent) for group in GROUPS}
            head = parts[_GROUP[name]]
            shown = [parts["seen"], parts["unseen"] if _GROUP[name] == "all" else None]
            cells = "".join(f"{one.miou:8.3f}" if one and one.points else f"{'-':>8}" for one in shown)
            lines.append(f"{name:<10}{head.points:>10}{head.miou:>8.3f}{cells}{head.accuracy:>10.3f}")
    rows = class_rows(evaluation)
    columns = [key for key in rows[0] if key.endswith("_iou")]
    names = {column: column.removesuffix("_iou") for column in columns}
    lines += ["", f"{'IoU by class':<24}{'share':>7}" + "".join(f"{names[column]:>10}" for column in columns)]
    for row in rows:
        values = "".join(f"{'-' if row[c] is None else format(row[c], '.3f'):>10}" for c in columns)
        lines.append(f"{row['class']:<24}{row['share_of_points']:>7.3f}{values}")
    left_out = {scores.absent for name in evaluation.matrices if (scores := evaluation.scores(name))}
    missing = sorted(set.intersection(*map(set, left_out)))
    if missing and absent == "leave out":
        lines.append(f"left out of the mean, neither true nor predicted: {', '.join(missing)}")
    return "\n".join(lines)
