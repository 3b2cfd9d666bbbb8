"""One pre-training: from shards and a 2D network to a student whose backbone can be fine-tuned."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from scenelift.io.storage import Location
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from trainables.common.needs import Needs
from trainables.common.segmentation import SegmentationTask, open_data
from trainables.common.training import start
from trainables.pretrain.config import PRESETS, PretrainConfig
from trainables.pretrain.image_backbone import build_image_backbone, feature_width
from trainables.pretrain.method import Pretrain


class PretrainTask(SegmentationTask):
    """Check what is there, and pre-train; nothing is scored, since the student names nothing yet."""

    command = "pretrain"

    def __init__(self, config: PretrainConfig) -> None:
        self.config, self.presets, self.test = config, PRESETS, None
        needs = Needs.of_images(config.augmentation, superpixels=config.method == "slidr")
        self.train, _ = open_data(config.data, needs)
        backbone = build_image_backbone(config.images, config.teacher, self.train.vocabulary)
        size = config.augmentation.image.size or self.train.about.image_size
        self.image_width = feature_width(backbone, config.images, size)

    def tags(self) -> dict[str, str]:
        images = self.config.images.model
        return super().tags() | {
            "method": self.config.method,
            "images": images,
            "teacher": self.config.teacher.model if images == "teacher" else images,
            "protocol": "pre-training",
        }

    def student(self) -> Student:
        vocabulary, channels = self.train.vocabulary, self.config.contrast.channels
        return Student(
            self.config.student,
            self.train.point_features,
            torch.zeros((len(vocabulary.classes), 0)),
            vocabulary,
            heads={"contrast": channels},
            projections={"image": (self.image_width, channels)},
        )

    def following(self, student: Location) -> str:
        return self.finetuning(student)

    def collate(self, student: Student) -> Collate:
        config = self.config
        slidr = config.method == "slidr"
        return Collate(config.student.voxels, config.augmentation, config.loop.seed, superpixels=slidr)

    @classmethod
    def method(cls, config: PretrainConfig, initial: Path) -> Pretrain:
        student = Student.load(initial)
        images = build_image_backbone(config.images, config.teacher, student.vocabulary)
        return Pretrain(student, images, config)


run = partial(start, PretrainTask)
