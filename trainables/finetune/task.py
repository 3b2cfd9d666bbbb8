"""Fine-tuning: choose the labels, train on them, score the student."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from scenelift.errors import ConfigError
from scenelift.evaluation.scoring import hold_out
from scenelift.io.console import say
from scenelift.io.storage import Location
from scenelift.nn.student import Student
from scenelift.nn.transfer import classify_by_text, load_backbone
from scenelift.points.collate import Collate
from scenelift.runs.history import RANDOM, Origin
from scenelift.samples.vocabulary import Vocabulary
from trainables.common.needs import Needs
from trainables.common.segmentation import SegmentationTask, open_data
from trainables.common.training import start, start_tags
from trainables.finetune.config import PRESETS, FinetuneConfig
from trainables.finetune.method import FineTuning


class FinetuneTask(SegmentationTask):
    """Supervised training on a part of the labels, from a pre-trained backbone or from random."""

    command, protocol = "finetune", "labeled"

    def __init__(self, config: FinetuneConfig) -> None:
        self.train, self.test = open_data(config.data, Needs(labels=True))
        self.used = config.labels.frames(self.train)
        say(f"labels of {len(self.used)} of {len(self.train)} frames ({config.protocol})")
        trained, _ = hold_out(config.validation, self.train, self.used)
        frames = len(self.used if trained is None else trained)
        self.config = long_enough(config, frames)
        # Epochs that `min_steps` adds are not a change by the user.
        self.presets = {name: long_enough(preset, frames) for name, preset in PRESETS.items()}
        self.untrained = make_student(self.config, self.train.point_features, self.train.vocabulary)

    def tags(self) -> dict[str, str]:
        config = self.config
        origin = Origin(RANDOM) if config.start is None else Origin.of(config.start)
        assert self.used is not None
        return super().tags() | {
            "protocol": config.protocol,
            "labeled_frames": f"{len(self.used)} of {len(self.train)}",
            "fraction": f"{config.labels.fraction:g}",
            "level": config.labels.level,
            **start_tags(origin),
        }

    def following(self, student: Location) -> str:
        return self.labelling(student)

    def student(self) -> Student:
        """Built with the task, so that a start that does not fit is refused early."""
        return self.untrained

    def collate(self, student: Student) -> Collate:
        config = self.config
        return Collate(config.student.voxels, config.augmentation, config.loop.seed, images=False)

    @classmethod
    def method(cls, config: FinetuneConfig, initial: Path) -> FineTuning:
        return FineTuning(Student.load(initial), config.loss, config.freeze, config.free_norms)


def make_student(config: FinetuneConfig, point_features: int, vocabulary: Vocabulary) -> Student:
    """A student with a new classifier and no text prototypes ([C, 0]), around the start's backbone if any."""
    torch.manual_seed(config.loop.seed)
    classes = len(vocabulary.classes)
    heads = {"classifier": classes}
    student = Student(config.student, point_features, torch.zeros(classes, 0), vocabulary, heads)
    if config.start is None:
        if config.head == "text":
            raise ConfigError(
                "head text needs a student of trainables.distill: --start runs/NAME/student, or --head new"
            )
        return student
    start = Student.load(config.start)
    load_backbone(student, start, config.start)
    if config.head == "text":
        classify_by_text(student, start, config.start)
    return student


def long_enough(config: FinetuneConfig, frames: int) -> FinetuneConfig:
    """The config with as many epochs as `min_steps` asks for."""
    needed = math.ceil(config.min_steps / max(1, frames // config.loop.batch))
    return replace(config, loop=replace(config.loop, epochs=max(config.loop.epochs, needed)))


run = partial(start, FinetuneTask)
