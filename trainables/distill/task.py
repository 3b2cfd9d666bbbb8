"""One distillation: from shards and a teacher to a student that names points, and its scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scenelift.samples.vocabulary import Vocabulary
from trainables.common.prompts import named_by, taught_by
from trainables.common.segmentation import SegmentationTask, open_data
from trainables.common.training import start
from trainables.distill.config import PRESETS, DistillConfig

if TYPE_CHECKING:
    from scenelift.nn.student import Student
    from scenelift.points.collate import Collate
    from scenelift.teachers.clip import DenseClip
    from trainables.distill.method import Clip2Scene


class DistillTask(SegmentationTask):
    """Score the teacher, distil, score the student, show both."""

    command = "distill"

    def __init__(self, config: DistillConfig) -> None:
        self.config, self.presets, self.teacher = config, PRESETS, config.teacher
        self.train, self.test = open_data(config.data)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes in the words of `config.prompts`."""
        return named_by(self.train.vocabulary, self.config.prompts)

    def tags(self) -> dict[str, str]:
        """What tells one distillation from another."""
        return super().tags() | {"teacher": self.config.teacher.model, "protocol": "label-free"}

    def student(self) -> Student:
        """Untrained, with the teacher's classes."""
        from scenelift.teachers.clip import build_teacher

        teacher = build_teacher(self.config.teacher, self.vocabulary)
        return make_student(self.config, teacher, self.train.point_features)

    def collate(self, student: Student) -> Collate:
        """Frames to voxels, images and pairs; cells where a loss fuses points in them."""
        from scenelift.points.collate import Collate

        config = self.config
        grid = config.loss.grid if config.loss.cells else None
        return Collate(config.student.voxels, config.augmentation, config.loop.seed, grid=grid)

    @classmethod
    def method(cls, config: DistillConfig, initial: Path) -> Clip2Scene:
        """CLIP2Scene around the student that the folder holds."""
        from scenelift.nn.student import Student
        from scenelift.teachers.clip import build_teacher
        from trainables.distill.method import Clip2Scene

        student = Student.load(initial)
        teacher = build_teacher(config.teacher, taught_by(student.vocabulary, config.prompts))
        return Clip2Scene(student, teacher, config.loss, config.self_training, config.loop.seed)


def make_student(config: DistillConfig, teacher: DenseClip, point_features: int) -> Student:
    """An untrained student with the heads and projections that the losses need, and the teacher's classes."""
    from scenelift.nn.student import Student

    loss, width = config.loss, teacher.text.shape[1]
    heads = {"semantic": width} | ({"local": width} if loss.spatial_temporal else {})
    projections = {"image": (teacher.visual.proj.shape[0], width)} if loss.projected else None
    return Student(config.student, point_features, teacher.text, teacher.vocabulary, heads, projections)


run = partial(start, DistillTask)
