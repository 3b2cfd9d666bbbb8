"""Base of the trainings of a 3D student: which shards it reads, and how the student is scored.

Networks, teachers and reports are imported where they are used, after the data has been checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scenelift.config.build import flatten
from scenelift.errors import DataError
from scenelift.io.console import say
from scenelift.io.storage import Location
from scenelift.runs.config import DataConfig
from scenelift.runs.task import Report, Task, spread
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from trainables.common.names import network_name
from trainables.common.training import shard_folders
from trainables.common.validation import OBJECTIVES, SegmentationMeasure

if TYPE_CHECKING:
    from scenelift.evaluation.config import Absent
    from scenelift.nn.student import Student
    from scenelift.teachers.clip import DenseClip
    from scenelift.teachers.config import TeacherConfig
    from scenelift.train.launch import Resources
    from trainables.common.reports import Protocol
    from trainables.common.scoring import Evaluation

PICTURED_FRAMES = 3
"""Test frames that are drawn."""
HEADLINES = ("miou", "miou_seen", "miou_unseen", "accuracy")
COLUMNS = (
    *(f"{protocol}/{name}" for protocol in ("label_free", "labeled") for name in HEADLINES),
    "teacher/miou",
)
"""Scores that a dashboard shows."""


def open_data(data: DataConfig) -> tuple[Shards, Shards | None]:
    """Training and test shards of one class list; the synthetic world is made if none are named."""
    train_folder, test_folder = shard_folders(data, synthetic)
    train = Shards.open(train_folder)
    test = Shards.open(test_folder, train.vocabulary.classes) if test_folder else None
    if test is not None and test.about.labels is None:
        raise DataError(f"{test_folder} has no labels to score on; leave data.test out")
    return train, test


def synthetic(split: str) -> str:
    """Folder of the synthetic world's shards of a split, made at first use."""
    from datasets.synthetic.shards import synthetic_shards  # not needed for real data

    return synthetic_shards(split)


class SegmentationTask(Task[Frame]):
    """A training whose student predicts the classes of points, scored by mIoU on labeled test frames."""

    objectives: ClassVar = OBJECTIVES
    columns: ClassVar = COLUMNS
    smaller_samples = (
        "use fewer augmentation.lidar_sweeps, a larger student.voxels.size, a smaller network, or a machine with "
        "more memory"
    )

    train: Shards
    test: Shards | None
    teacher: TeacherConfig | None = None
    """A teacher to score before the student, and to draw next to it."""
    protocol: Protocol = "label_free"
    """How the student learns the classes; the first part of its metrics' names."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes of the test shards, in the words that the student is prompted with."""
        return self.train.vocabulary

    def load(self, folder: Location) -> Student:
        """The student of a checkpoint."""
        from scenelift.nn.student import Student

        return Student.load(folder)

    def describe(self, student: Student) -> dict[str, Any]:
        """Version of the class list and number of parameters."""
        return {"vocabulary": student.vocabulary.version, "parameters": student.size}

    def tags(self) -> dict[str, str]:
        """The student's network, for tables."""
        return {"student": network_name(flatten(self.config.student.network))}

    def measure(self, held_out: Sequence[int]) -> SegmentationMeasure:
        """mIoU if there are labels, agreement if there are sweeps."""
        return SegmentationMeasure.of(self.train, held_out[0])

    def score_before(self, initial: Location, resources: Resources) -> Evaluation | None:
        """The untrained student and the teacher, if there is one."""
        if self.teacher is None:
            return None
        scored = self._evaluate({"random": initial}, self.teacher, "scoring the teacher", resources)
        miou = scored.scores("teacher", "seen").miou
        say(f"teacher, projected to the points that cameras see: mIoU {miou:.3f}")
        return scored

    def score(
        self,
        before: Evaluation | None,
        initial: Location,
        trained: Location,
        resources: Resources,
        folder: Path,
    ) -> Report:
        """The student, next to what was scored before; some frames are drawn."""
        evaluation = self._evaluate({"student": trained}, None, "scoring the student", resources)
        if before is not None:
            before.add(evaluation)
            evaluation = before
        teacher = None
        if self.teacher is not None:
            from scenelift.teachers.clip import build_teacher  # takes seconds; not all trainings have one

            teacher = build_teacher(self.teacher, self.vocabulary)
        assert self.test is not None
        absent = self.config.data.absent_classes
        return report(evaluation, self.test, teacher, absent, self.protocol, folder)

    def _evaluate(
        self,
        students: Mapping[str, Location],
        teacher: TeacherConfig | None,
        title: str,
        resources: Resources,
    ) -> Evaluation:
        from trainables.common.scoring import Predictors, evaluate

        assert self.test is not None
        keep, make = spread(len(self.test), PICTURED_FRAMES), Predictors(self.vocabulary, students, teacher)
        return evaluate(self.test, make, title, keep, resources.workers, resources.gpus)


def report(
    evaluation: Evaluation,
    shards: Shards,
    teacher: DenseClip | None,
    absent: Absent,
    protocol: Protocol,
    folder: Path,
) -> Report:
    """Metrics and tables of scored predictors; draws pictures into the folder."""
    from trainables.common import reports  # imports matplotlib

    kept = list(evaluation.kept)
    reports.draw(folder, evaluation, dict(zip(kept, shards.read_many(kept), strict=True)), teacher)
    return Report(
        metrics=reports.metrics(evaluation, absent, protocol),
        text=reports.table(evaluation, absent),
        tables={"classes": reports.class_rows(evaluation)},
    )
