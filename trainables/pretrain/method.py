"""PPKT and SLidR: points learn to look like the pixels that show them, and unlike all others; no text is needed.

`python -m trainables.pretrain [PRESET] [--method ppkt|slidr] [--group.field VALUE ...]`

The student that comes out names no classes yet: `trainables.finetune` goes on from it. The losses are in
`contrast.py`, the 2D networks in `image_backbone.py`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from scenelift.config.build import command
from scenelift.errors import DataError
from scenelift.geometry.sampling import sample
from scenelift.nn.student import Student
from scenelift.points.collate import Batch, Collate
from scenelift.runs.monitor import Observe, ignore
from scenelift.shards.read import Shards
from scenelift.train.method import Method, Progress
from trainables.common.segmentation import Training, open_data, run_training
from trainables.pretrain import losses as contrast
from trainables.pretrain.config import PRESETS, PretrainConfig
from trainables.pretrain.image_backbone import ImageBackbone, build_image_backbone, feature_width


class Pretrain(Method):
    """The student's points and the projected pixels of a frozen network learn to find each other."""

    student: Student
    images: ImageBackbone

    def __init__(self, student: Student, images: ImageBackbone, config: PretrainConfig) -> None:
        super().__init__()
        self.student, self.images, self.config = student, images, config
        self.weights = {config.method: 1.0}
        self.cached: dict[str, Tensor] = {}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        features = self.student(batch.voxels).float()
        seen = self._look(batch) if len(batch.pair_points) else None
        with torch.autocast(features.device.type, enabled=False):
            if seen is None:
                loss = self._nothing(features)
            elif self.config.method == "ppkt":
                loss = self._ppkt(batch, features, seen)
            else:
                loss = self._slidr(batch, features, seen)
        return {self.config.method: loss}

    def _look(self, batch: Batch) -> Tensor:
        """[I, K, h, w] features of the batch's images; what is cached of a frame is its own alone."""
        seen = []
        for i, token in enumerate(batch.tokens):
            here = self.cached.get(token)
            if here is None:
                here = self.images(batch.images[batch.image_frame == i]).float()
                if len(self.cached) < self.config.images.cache_frames:
                    self.cached[token] = here
            seen.append(here)
        return torch.cat(seen)

    def _ppkt(self, batch: Batch, features: Tensor, seen: Tensor) -> Tensor:
        config, size = self.config, (batch.images.shape[2], batch.images.shape[3])
        drawn = contrast.draw_pairs(len(batch.pair_points), config.contrast.pairs, features.device)
        image, row, column = batch.pair_pixels[drawn].unbind(1)
        # A linear map may as well follow the sampling.
        tokens = sample(seen, image, row, column, size, config.images.align_corners)
        pixels = self.student.projections["image"](tokens)
        points = self.student.heads["contrast"](features[batch.pair_voxel[drawn]])
        return contrast.ppkt(points, pixels, config.contrast.temperature)

    def _slidr(self, batch: Batch, features: Tensor, seen: Tensor) -> Tensor:
        assert batch.superpixels is not None, "SLidR needs Collate.superpixels"
        config, pixels = self.config, batch.pair_pixels
        projected = self.student.projections["image"](seen.movedim(1, 3)).movedim(3, 1)
        points = self.student.heads["contrast"](features[batch.pair_voxel])
        align, temperature = config.images.align_corners, config.contrast.temperature
        return contrast.slidr(points, pixels, projected, batch.superpixels, temperature, align)

    def _nothing(self, features: Tensor) -> Tensor:
        """0 for a batch without pairs; every parameter gets a gradient, as parallel workers expect."""
        image = self.student.projections["image"]
        assert isinstance(image, torch.nn.Linear)
        pixels = image(features.new_zeros((1, image.in_features)))
        return (self.student.heads["contrast"](features).sum() + pixels.sum()) * 0


def make_method(config: PretrainConfig, initial: Path) -> Pretrain:
    """The method with the student that the folder holds; called in every training worker."""
    student = Student.load(initial)
    return Pretrain(student, build_image_backbone(config.images, config.teacher, student.vocabulary), config)


def make_student(config: PretrainConfig, shards: Shards, width: int) -> Student:
    """An untrained student for a 2D network with so many channels; it knows no text."""
    vocabulary, channels = shards.vocabulary, config.contrast.channels
    return Student(
        config.student,
        shards.point_features,
        torch.zeros((len(vocabulary.classes), 0)),
        vocabulary,
        heads={"contrast": channels},
        projections={"image": (width, channels)},
    )


def run(config: PretrainConfig, observe: Observe = ignore) -> None:
    """Check what is there, and pre-train."""
    train, _ = open_data(config.data)
    slidr = config.method == "slidr"
    if slidr and not train.about.superpixels:
        raise DataError(
            f"{train.path} holds no superpixels, which slidr needs; make it again in another folder with "
            f"--superpixels 150: {train.manifest.command}"
        )
    backbone = build_image_backbone(config.images, config.teacher, train.vocabulary)
    size = config.augmentation.image.size or train.about.image_size
    width = feature_width(backbone, config.images, size)
    run_training(
        Training(
            command="pretrain",
            config=config,
            presets=PRESETS,
            train=train,
            test=None,
            student=partial(make_student, config, train, width),
            collate=Collate(config.student.voxels, config.augmentation, config.loop.seed, superpixels=slidr),
            build=partial(make_method, config),
            tags={
                "method": config.method,
                "images": config.images.model,
                "teacher": config.teacher.model if config.images.model == "teacher" else config.images.model,
                "protocol": "pre-training",
            },
        ),
        observe,
    )


def main() -> None:
    """Entry point."""
    command(run, PretrainConfig, PRESETS, "python -m trainables.pretrain")
