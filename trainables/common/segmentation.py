"""Base of the trainings of a 3D student: which shards it reads, how the student is validated and scored.

Networks, teachers and reports are imported where they are used, after the data has been checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scenelift.config.build import flatten
from scenelift.errors import DataError
from scenelift.evaluation import metrics
from scenelift.evaluation.metrics import confusion, kappa
from scenelift.evaluation.scoring import Counts
from scenelift.io import secrets
from scenelift.io.console import say
from scenelift.io.storage import Location
from scenelift.runs.config import DataConfig
from scenelift.runs.task import Report, Task
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from trainables.common.agreement import agreement, sweep_alone
from trainables.common.needs import NO_NEEDS, Needs
from trainables.common.training import network_name, shard_folders, student_options

if TYPE_CHECKING:
    from scenelift.evaluation.config import Absent
    from scenelift.nn.student import Student
    from scenelift.teachers.config import TeacherConfig
    from scenelift.train.launch import Resources
    from trainables.common.scoring import Evaluation, HowLearned, Predictors

MIOU = "validation/miou"
AGREEMENT = "validation/agreement"
OBJECTIVES = {
    MIOU: "mIoU over all keyframe points of the held-out frames; where the shards have labels",
    AGREEMENT: "Cohen's kappa between a student's labels of the keyframe's voxels and of the same voxels one "
    "sweep earlier; where the shards have sweeps; needs no labels, and is 0 for a constant prediction",
}
_HEADLINES = ("miou", "miou_seen", "miou_unseen", "accuracy")
COLUMNS = (
    *(f"{how}/{name}" for how in ("label_free", "labeled") for name in _HEADLINES),
    "teacher/miou",
    *(
        f"unlabeled/{name}"
        for name in ("agreement_teacher", "agreement_students", "agreement_sweeps", "confidence")
    ),
)
"""Scores that a dashboard shows."""


def open_data(data: DataConfig, needs: Needs = NO_NEEDS) -> tuple[Shards, Shards | None]:
    """Training and test shards of one class list; the synthetic world is made if none are named. DataError if the
    training shards lack what is needed."""
    train_folder, test_folder = shard_folders(data, synthetic)
    train = Shards.open(train_folder)
    needs.check(train)
    return train, Shards.open(test_folder, train.vocabulary.classes) if test_folder else None


def synthetic(split: str) -> str:
    """Folder of the synthetic world's shards of a split, made at first use."""
    from datasets.synthetic.shards import synthetic_shards  # not needed for real data

    return synthetic_shards(split)


class SegmentationTask(Task[Frame]):
    """A training whose student predicts the classes of points, scored by mIoU on labeled test frames, by agreement
    and confidence on others."""

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
    protocol: HowLearned = "label_free"
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
        assert self.test is not None
        if self.teacher is None or not self.test.about.labeled:
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
        """The student, next to what was scored before; the frames that matter are drawn."""
        from trainables.common.scoring import Predictors

        assert self.test is not None
        make = Predictors(self.vocabulary, {"student": trained}, self.teacher)
        if not self.test.about.labeled:
            return report_unlabeled(self.test, make, resources, folder)
        evaluation = self._evaluate({"student": trained}, None, "scoring the student", resources)
        if before is not None:
            before.add(evaluation)
            evaluation = before
        absent = self.config.data.absent_classes
        return report(evaluation, self.test, make, absent, self.protocol, folder)

    def labelling(self, student: Location) -> str:
        """The command that labels the scans of the test shards, and so of others."""
        shards = self.test or self.train
        words = ["python", "-m", "trainables.predict", "--student", str(student), "--data", shards.path]
        return f"labels, also of your scans: {secrets.command(words)}"

    def finetuning(self, student: Location) -> str:
        """The command that fine-tunes a student of this task, with everything that decides what it sees."""
        from datasets.common.following import batch_options, frame_preset  # not needed before the end

        manifest = self.train.manifest
        if not self.train.about.labeled:
            return "to fine-tune the student: python -m trainables.finetune --start on shards with labels"
        preset = frame_preset(manifest)
        words = [
            "python",
            "-m",
            "trainables.finetune",
            *([preset] if preset else []),
            "--start",
            str(student),
        ]
        words += ["--data.train", self.train.path]
        words += ["--data.test", self.test.path] if self.test is not None else []
        words += student_options(self.config.student)
        words += batch_options(len(self.train), 2 if preset is None else 8)
        return f"next: {secrets.command(words)}"

    def _evaluate(
        self,
        students: Mapping[str, Location],
        teacher: TeacherConfig | None,
        title: str,
        resources: Resources,
    ) -> Evaluation:
        from trainables.common.scoring import Predictors, evaluate

        assert self.test is not None
        make = Predictors(self.vocabulary, students, teacher)
        return evaluate(self.test, make, title, resources.workers, resources.gpus)


def report(
    evaluation: Evaluation,
    shards: Shards,
    make: Predictors,
    absent: Absent,
    protocol: HowLearned,
    folder: Path,
) -> Report:
    """Metrics and tables of scored predictors; draws the frames with the most errors, and the confusion matrices,
    into the folder. make: builds the predictors that are drawn again."""
    from scenelift.evaluation import plots  # imports matplotlib
    from trainables.common import scoring  # imports torch and the networks

    _draw(evaluation.trouble, shards, make, folder)
    for name in evaluation.matrices.keys() - {"random"}:
        plots.confusion(
            folder / f"confusion_{name}.png", scoring.headline(evaluation, name), shards.vocabulary
        )
    return Report(
        metrics=scoring.metrics(evaluation, absent, protocol),
        text=scoring.table(evaluation, absent),
        tables={"classes": scoring.class_rows(evaluation)},
    )


def report_unlabeled(shards: Shards, make: Predictors, resources: Resources, folder: Path) -> Report:
    """What can be said of students on shards without labels; draws the frames with the most disagreement."""
    from trainables.common import unlabeled  # imports torch and the networks

    found = unlabeled.evaluate(shards, make, "comparing", resources.workers, resources.gpus)
    _draw(found.trouble, shards, make, folder)
    return Report(metrics=found.metrics(), text=found.table())


def _draw(trouble: Mapping[int, float], shards: Shards, make: Predictors, folder: Path) -> None:
    import torch

    from trainables.common import drawing

    chosen = drawing.worst(trouble)
    predictors = make(torch.device("cpu"))
    frames = dict(zip(chosen, shards.read_many(chosen), strict=True))
    drawing.draw(folder, shards.vocabulary, frames, predictors)


@dataclass(frozen=True)
class SegmentationMeasure:
    """mIoU and agreement, as far as the shards allow for them."""

    names: tuple[str, ...]
    vocabulary: Vocabulary

    @classmethod
    def of(cls, shards: Shards, index: int) -> SegmentationMeasure:
        """The metrics of these shards; index: of a held-out frame, which the others resemble."""
        swept = bool(shards.read(index).sweep.max(initial=0))
        names = (*((MIOU,) if shards.about.labeled else ()), *((AGREEMENT,) if swept else ()))
        return cls(names, shards.vocabulary)

    def count(self, student: Student, samples: Iterable[Frame]) -> Counts:
        """[C, C] counts for each metric."""
        classes = len(self.vocabulary.classes)
        counts: Counts = {name: np.zeros((classes, classes), np.int64) for name in self.names}
        for frame in samples:
            labels = student.predict(frame)
            if MIOU in counts:
                assert frame.labels is not None
                counts[MIOU] += confusion(frame.labels[frame.keyframe], labels, classes)
            if AGREEMENT in counts:
                earlier = sweep_alone(frame, 1)
                now = frame.points[frame.keyframe], labels
                before = earlier.points, student.predict(earlier)
                counts[AGREEMENT] += agreement(now, before, student.config.voxels.size, classes)
        return counts

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The metrics of the summed counts."""
        if MIOU in counts and not counts[MIOU].sum():
            raise DataError(
                f"{MIOU}: no point of the held-out frames has a class; hold out others "
                "(--validation.holdout_every), or none (0)"
            )
        score = {MIOU: lambda matrix: metrics.scores(matrix, self.vocabulary).miou, AGREEMENT: kappa}
        return {name: score[name](matrix) for name, matrix in counts.items()}
