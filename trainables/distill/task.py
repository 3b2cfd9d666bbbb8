"""CLIP2Scene: from shards and a teacher to a student that predicts the classes of points, and its scores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scenelift.io.console import say
from scenelift.io.storage import Location
from scenelift.samples.vocabulary import Vocabulary
from trainables.common.needs import Needs
from trainables.common.segmentation import SegmentationTask, open_data
from trainables.common.training import start
from trainables.distill.config import PRESETS, DistillConfig, Prompts

if TYPE_CHECKING:
    from scenelift.nn.student import Student
    from scenelift.points.collate import Collate
    from trainables.distill.method import Clip2Scene

CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
PAPER_SPELLING = {"traffic cone": "traffic_cone", "other flat": "other_flat"}
"""Words that the paper's code sends to CLIP with underscores."""


class DistillTask(SegmentationTask):
    """Score the teacher, distil, score the student."""

    command = "distill"

    def __init__(self, config: DistillConfig) -> None:
        self.config, self.presets, self.teacher = config, PRESETS, config.teacher
        self.train, self.test = open_data(config.data, Needs.of_images(config.augmentation))
        if self.test is not None and not any(self.test.about.pairs.values()):
            say(f"{self.test.path} has no images that show points, so the teacher is not scored on it")
            self.teacher = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes in the words of `config.prompts`."""
        return student_classes(self.train.vocabulary, self.config.prompts)

    def tags(self) -> dict[str, str]:
        return super().tags() | {
            "teacher": self.config.teacher.model,
            "prompts": self.config.prompts,
            "protocol": "label-free",
        }

    def student(self) -> Student:
        from scenelift.teachers.clip import build_teacher
        from trainables.distill.method import make_student

        teacher = build_teacher(self.config.teacher, self.vocabulary)
        return make_student(self.config, teacher, self.train.point_features)

    def following(self, student: Location) -> str:
        return f"{self.finetuning(student)}\n{self.labelling(student)}"

    def collate(self, student: Student) -> Collate:
        from scenelift.points.collate import Collate

        config = self.config
        grid = config.loss.grid if config.loss.cells else None
        return Collate(config.student.voxels, config.augmentation, config.loop.seed, grid=grid)

    @classmethod
    def method(cls, config: DistillConfig, initial: Path) -> Clip2Scene:
        from scenelift.nn.student import Student
        from scenelift.teachers.clip import build_teacher
        from trainables.distill.method import Clip2Scene

        student = Student.load(initial)
        teacher = build_teacher(config.teacher, teacher_classes(student.vocabulary, config.prompts))
        return Clip2Scene(student, teacher, config.loss, config.self_training, config.loop.seed)


def student_classes(own: Vocabulary, prompts: Prompts) -> Vocabulary:
    """The data set's classes, prompted with all of their words, or with one word each, spelled as in the paper."""
    if prompts == "words":
        return own
    words = [PAPER_SPELLING.get(words[0], words[0]) for words in own.words]
    return replace(own, words=tuple((word,) for word in words))


def teacher_classes(own: Vocabulary, prompts: Prompts) -> Vocabulary:
    """The classes that the teacher chooses between: those of the student, of other data sets, or of all (Table 3).
    They may differ from the student's, as its features are in the text space."""
    if prompts in ("words", "paper"):
        return student_classes(own, prompts)
    from datasets.semantickitti.classes import VOCABULARY as SEMANTICKITTI  # not needed for other prompts

    kitti = [words[0] for words in SEMANTICKITTI.words]
    union = [*(words[0] for words in student_classes(own, "paper").words), *kitti, *CITYSCAPES]
    words = {"semantickitti": kitti, "cityscapes": CITYSCAPES, "all": union}[prompts]
    classes = tuple(dict.fromkeys(words))
    gray = ((128, 128, 128),) * len(classes)
    return Vocabulary(f"{own.name}-by-{prompts}", classes, tuple((word,) for word in classes), gray)


run = partial(start, DistillTask)
