"""Supervised training of a student on a part of the labels, from a pre-trained backbone or from random.

`python -m trainables.finetune [PRESET] [--start runs/NAME/student] [--labels.fraction 0.01]`

The student gets a new head, `classifier`, with one output a class; points without a label are left out. Trained
with cross-entropy and Lovasz-softmax (clip2scene.md 6.4). The class list is that of the labels, so a backbone
may come from another data set; its point features should then have the same range in both: nuScenes' intensity
is 0..255 and SemanticKITTI's remission 0..1, which `student.voxels.feature_scale` 1/255 and 1 bring together.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.config.build import command
from scenelift.errors import ConfigError, DataError
from scenelift.geometry.segments import segment_first
from scenelift.io.console import say
from scenelift.nn.lovasz import lovasz_softmax
from scenelift.nn.student import Student
from scenelift.nn.transfer import classify_by_text, load_backbone
from scenelift.points.collate import Batch, Collate
from scenelift.runs.lineage import RANDOM, Origin
from scenelift.runs.monitor import Observe, ignore
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from scenelift.train.method import Method, Progress
from trainables.common.segmentation import Training, open_data, run_training
from trainables.finetune.config import PRESETS, FinetuneConfig, FinetuneLoss


class FineTuning(Method):
    """The student learns the labels of voxels; the label of a voxel is that of its first point."""

    student: Student

    def __init__(
        self,
        student: Student,
        loss: FinetuneLoss,
        freeze: bool = False,
        free_norms: float = 1.0,
    ) -> None:
        super().__init__()
        self.student, self.frozen, self.free_norms = student, freeze, free_norms
        weights = {"cross_entropy": loss.cross_entropy, "lovasz": loss.lovasz}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        student.backbone.requires_grad_(not freeze)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        # Only batch norms heed the mode; a frozen backbone keeps their statistics too.
        self.student.backbone.train(not self.frozen and progress.epoch < self.free_norms * progress.epochs)
        features = self.student(batch.voxels)
        labels = batch.labels[segment_first(batch.point_voxel, len(features))]
        known = torch.nonzero(labels).squeeze(1)
        logits, targets = self.student.class_logits(features[known]), labels[known] - 1
        losses = {"cross_entropy": cross_entropy, "lovasz": lovasz_softmax}
        return {name: losses[name](logits, targets) for name in self.weights}


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of [N, C] logits and [N] labels 0..C-1; 0 without rows."""
    return F.cross_entropy(logits, labels) if len(labels) else logits.sum() * 0


def make_method(config: FinetuneConfig, initial: Path) -> FineTuning:
    """The method with the student that the folder holds; called in every training worker."""
    return FineTuning(Student.load(initial), config.loss, config.freeze, config.free_norms)


def make_student(config: FinetuneConfig, point_features: int, vocabulary: Vocabulary) -> Student:
    """A student with a new classifier and no text prototypes ([C, 0]), around the start's backbone if any."""
    torch.manual_seed(config.loop.seed)
    classes = len(vocabulary.classes)
    student = Student(
        config.student, point_features, torch.zeros(classes, 0), vocabulary, {"classifier": classes}
    )
    if config.start is None:
        if config.head == "text":
            raise ConfigError("head text needs a --start that trainables.distill made")
    else:
        start = Student.load(config.start)
        load_backbone(student, start, config.start)
        if config.head == "text":
            classify_by_text(student, start, config.start)
    return student


def _require_labels(train: Shards) -> None:
    if not train.about.labeled:
        raise DataError(f"{train.path} has no labels to learn from; trainables.distill needs none")


def _long_enough(config: FinetuneConfig, frames: int) -> FinetuneConfig:
    """The config with as many epochs as `min_steps` asks for."""
    needed = math.ceil(config.min_steps / max(1, frames // config.loop.batch))
    return replace(config, loop=replace(config.loop, epochs=max(config.loop.epochs, needed)))


def _tags(config: FinetuneConfig, frames: int, train: Shards) -> dict[str, str]:
    """What the table of all runs needs to know of a run beside its config."""
    origin = Origin(RANDOM) if config.start is None else Origin.of(config.start)
    return {
        "protocol": config.protocol,
        "labeled_frames": f"{frames} of {len(train)}",
        "fraction": f"{config.labels.fraction:g}",
        "level": config.labels.level,
        **origin.start_tags(),
    }


def run(config: FinetuneConfig, observe: Observe = ignore) -> None:
    """Choose the labels, train on them, score the student."""
    train, test = open_data(config.data)
    _require_labels(train)
    student = make_student(config, train.point_features, train.vocabulary)
    frames = config.labels.frames(train)
    say(f"labels of {len(frames)} of {len(train)} frames ({config.protocol})")
    config = _long_enough(config, len(frames))
    run_training(
        Training(
            command="finetune",
            config=config,
            # Epochs that come of `min_steps` are nothing that the user changed.
            presets={name: _long_enough(preset, len(frames)) for name, preset in PRESETS.items()},
            train=train,
            test=test,
            student=lambda: student,
            collate=Collate(config.student.voxels, config.augmentation, config.loop.seed, images=False),
            build=partial(make_method, config),
            tags=_tags(config, len(frames), train),
            frames=frames,
            protocol="labeled",
            validation=config.validation,
        ),
        observe,
    )


def main() -> None:
    """Entry point."""
    command(run, FinetuneConfig, PRESETS, "python -m trainables.finetune")
