"""What every training of a 3D student shares: which shards it reads, and how the student is scored.

Networks, teachers and reports are imported where they are used: data that does not fit is refused before.
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
"""Scores that a dashboard shows of runs that name points."""


def open_data(data: DataConfig) -> tuple[Shards, Shards | None]:
    """Training and test shards, of one class list; the synthetic world is made where none are named."""
    train_place, test_place = shard_folders(data, synthetic)
    train = Shards.open(train_place)
    test = Shards.open(test_place, train.vocabulary.classes) if test_place else None
    if test is not None and test.about.labels is None:
        raise DataError(f"{test_place} has no labels to score on; leave data.test out")
    return train, test


def synthetic(split: str) -> str:
    """Folder of the synthetic world's shards of a split, made at first use."""
    from datasets.synthetic.shards import synthetic_shards  # a ray tracer, which real data can spare

    return synthetic_shards(split)


class SegmentationTask(Task[Frame]):
    """A training whose student names points, scored by mIoU on labeled test frames."""

    objectives: ClassVar = OBJECTIVES
    columns: ClassVar = COLUMNS
    smaller_samples = (
        "use fewer augmentation.lidar_sweeps, a larger student.voxels.size, a smaller network, or a machine with "
        "more memory"
    )

    train: Shards
    test: Shards | None
    teacher: TeacherConfig | None = None
    """A teacher to score before, and to draw beside, the student."""
    protocol: Protocol = "label_free"
    """How the student came to know the classes; the first part of its metrics' names."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes of the test shards, in the words that the student is asked with."""
        return self.train.vocabulary

    def load(self, folder: Location) -> Student:
        """The student of a checkpoint."""
        from scenelift.nn.student import Student

        return Student.load(folder)

    def describe(self, student: Student) -> dict[str, Any]:
        """What the logged model says of itself."""
        return {"vocabulary": student.vocabulary.version, "parameters": student.size}

    def tags(self) -> dict[str, str]:
        """The student's network, for tables."""
        return {"student": network_name(flatten(self.config.student.network))}

    def measure(self, held_out: Sequence[int]) -> SegmentationMeasure:
        """mIoU where there are labels, agreement where there are sweeps."""
        return SegmentationMeasure.of(self.train, held_out[0])

    def score_before(self, initial: Location, resources: Resources) -> Evaluation | None:
        """The untrained student and the teacher, where there is one."""
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
        pictures: Path,
    ) -> Report:
        """The student beside what was scored before; some frames are drawn."""
        evaluation = self._evaluate({"student": trained}, None, "scoring the student", resources)
        if before is not None:
            before.add(evaluation)
            evaluation = before
        assert self.test is not None
        return report(
            evaluation, self.test, self._teacher(), self.config.data.absent_classes, self.protocol, pictures
        )

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

    def _teacher(self) -> DenseClip | None:
        """The teacher that pictures show beside the student."""
        if self.teacher is None:
            return None
        from scenelift.teachers.clip import build_teacher  # seconds, which trainings without one can spare

        return build_teacher(self.teacher, self.vocabulary)


def report(
    evaluation: Evaluation,
    shards: Shards,
    teacher: DenseClip | None,
    absent: Absent,
    protocol: Protocol,
    pictures: Path,
) -> Report:
    """Metrics, tables and pictures of scored predictors."""
    from trainables.common import reports  # matplotlib, at the end of a run

    kept = list(evaluation.kept)
    reports.draw(pictures, evaluation, dict(zip(kept, shards.read_many(kept), strict=True)), teacher)
    return Report(
        metrics=reports.metrics(evaluation, absent, protocol),
        text=reports.table(evaluation, absent),
        tables={"classes": reports.class_rows(evaluation)},
    )
