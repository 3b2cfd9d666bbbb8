"""PPKT and SLidR: points learn to look like the pixels that show them, and unlike all others; no text is needed.

`python -m trainables.pretrain [PRESET] [--method ppkt|slidr] [--group.field VALUE ...]`

The student that comes out names no classes yet: `trainables.finetune` goes on from it. The losses are in
`contrast.py`, the 2D networks in `image_backbone.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from scenelift.config.build import command
from scenelift.errors import ConfigError, DataError
from scenelift.geometry.sampling import sample
from scenelift.nn.minkunet import NETWORKS
from scenelift.nn.student import Student, StudentConfig
from scenelift.points.augmentation import Augmentation, ImageAugmentation
from scenelift.points.collate import Batch, Collate, VoxelConfig
from scenelift.runs.experiment import DataConfig
from scenelift.runs.folder import RunConfig
from scenelift.shards.read import Shards
from scenelift.teachers.clip import TeacherConfig
from scenelift.tracking.client import TrackingConfig
from scenelift.train.launch import ScaleConfig
from scenelift.train.method import Method, Progress
from scenelift.train.optimizer import OptimizerConfig
from scenelift.train.plan import LoopConfig
from trainables.common.segmentation import Training, open_data, run_training
from trainables.common.teachers import CLIP_TEACHER, TINY_TEACHER
from trainables.pretrain import losses as contrast
from trainables.pretrain.image_backbone import (
    ImageBackbone,
    ImageBackboneConfig,
    build_image_backbone,
    feature_width,
)


@dataclass(frozen=True)
class ContrastConfig:
    """The contrast of points and pixels."""

    channels: int = 64
    """Width of the space in which both are compared."""
    temperature: float = 0.07
    """Similarities are divided by this."""
    pairs: int = 4096
    """Pairs of a batch (of each worker) that PPKT contrasts; SLidR takes all."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"contrast.temperature is positive, not {self.temperature}")
        for name in ("channels", "pairs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"contrast.{name} is at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class PretrainConfig:
    """PPKT or SLidR: pre-train a sparse 3D student on the features of a frozen 2D network, without labels."""

    method: Literal["ppkt", "slidr"] = "ppkt"
    """`ppkt`: each point against its pixel; `slidr`: the points of a superpixel against its pixels, which
    needs shards with superpixels."""
    data: DataConfig = DataConfig()
    """What is trained on; nothing is scored, as the student names no classes yet."""
    images: ImageBackboneConfig = ImageBackboneConfig()
    """The 2D network."""
    teacher: TeacherConfig = CLIP_TEACHER
    """The CLIP whose image tower is the 2D network if images.model is teacher."""
    student: StudentConfig = StudentConfig()
    """The 3D network."""
    augmentation: Augmentation = Augmentation(image=ImageAugmentation(crop=True, flip=True))
    """Changes of the training frames."""
    contrast: ContrastConfig = ContrastConfig()
    """The loss."""
    optimizer: OptimizerConfig = OptimizerConfig(dampening=0.1)
    """Optimizer and schedule."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""
    scale: ScaleConfig = ScaleConfig()
    """Workers and what each is given."""
    tracking: TrackingConfig = TrackingConfig(experiment="pretrain")
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""

    def __post_init__(self) -> None:
        if self.data.test is not None:
            raise ConfigError(
                "data.test is for trainings that name classes; score what trainables.finetune makes"
            )
        image = self.augmentation.image
        if self.images.cache_frames and (image.crop or image.flip or image.views):
            raise ConfigError(
                "images.cache_frames is for the same images every epoch: set it to 0, or augmentation.image.crop "
                "and flip to false and views to 0"
            )


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


def run(config: PretrainConfig) -> None:
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
        )
    )


_MOCO = ImageBackboneConfig(
    model="resnet50", weights="data/weights/moco_v2_800ep_pretrain.pth.tar", align_corners=True
)
_NUSCENES = PretrainConfig(student=StudentConfig(VoxelConfig(0.1, feature_scale=1 / 255), NETWORKS["spvcnn"]))
_PAPER = replace(
    _NUSCENES,
    images=_MOCO,
    student=StudentConfig(network=NETWORKS["minkunet34c"]),
    optimizer=OptimizerConfig(lr=0.5, dampening=0.1),
    loop=LoopConfig(epochs=50, batch=4),
)

PRESETS = {
    "synthetic": PretrainConfig(
        images=ImageBackboneConfig(cache_frames=1000),
        teacher=TINY_TEACHER,
        student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), NETWORKS["tiny"]),
        augmentation=Augmentation(scale_jitter=0.05),
        contrast=ContrastConfig(pairs=1024),
        optimizer=OptimizerConfig("adamw", lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1),
        loop=LoopConfig(epochs=20, batch=4, checkpoint_every=200),
        scale=ScaleConfig(workers=2),
    ),
    "ppkt": _NUSCENES,
    "slidr": replace(_NUSCENES, method="slidr"),
    "paper_ppkt": _PAPER,
    "paper_slidr": replace(_PAPER, method="slidr", images=replace(_MOCO, output_stride=4)),
}
"""`synthetic`: minutes on two cores; `ppkt` and `slidr`: from CLIP ViT-B/16, trained as CLIP2Scene is (section
5); `paper_ppkt` and `paper_slidr`: from a ResNet-50 of MoCo v2, as their authors trained them (section 4.5)."""


def main() -> None:
    """Entry point."""
    command(run, PretrainConfig, PRESETS, "python -m trainables.pretrain")
