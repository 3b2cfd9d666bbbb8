"""Supervised training of a student on a part of the labels, from a pre-trained backbone or from random.

`python -m trainables.finetune [PRESET] [--start runs/NAME/student] [--labels.fraction 0.01]`

The student gets a new head, `classifier`, with one output a class; points without a label are left out. Trained
with cross-entropy and Lovasz-softmax (clip2scene.md 6.4). The class list is that of the labels, so a backbone
may come from another data set; its point features should then have the same range in both: nuScenes' intensity
is 0..255 and SemanticKITTI's remission 0..1, which `student.voxels.feature_scale` 1/255 and 1 bring together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.config.build import command
from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.validation import NO_VALIDATION, ValidationConfig
from scenelift.geometry.segments import segment_first
from scenelift.io.console import say
from scenelift.nn.lovasz import lovasz_softmax
from scenelift.nn.minkunet import NETWORKS
from scenelift.nn.student import Student, StudentConfig
from scenelift.nn.transfer import classify_by_text, load_backbone
from scenelift.points.augmentation import Augmentation, ImageAugmentation
from scenelift.points.collate import Batch, Collate, VoxelConfig
from scenelift.runs.experiment import DataConfig
from scenelift.runs.folder import RunConfig
from scenelift.runs.lineage import RANDOM, Origin
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from scenelift.tracking.client import TrackingConfig
from scenelift.train.launch import ScaleConfig
from scenelift.train.method import Method, Progress
from scenelift.train.optimizer import OptimizerConfig
from scenelift.train.plan import LoopConfig
from trainables.common.segmentation import Training, open_data, run_training


@dataclass(frozen=True)
class LabelsConfig:
    """Which part of the training frames' labels may be used (clip2scene.md 1.1)."""

    fraction: float = 1.0
    """Share of the labels, one over a whole number s: 0.01 (s = 100), 0.05, 0.1, 0.25, 1."""
    level: Literal["frame", "scene"] = "frame"
    """`frame`: every s-th frame, as CLIP2Scene has it; `scene`: all frames of every s-th scene, as SLidR has
    it. Figures for the two cannot be compared."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1 or abs(self.fraction * self.stride - 1) > 0.02:
            raise ConfigError(
                "labels.fraction is one over a whole number, such as 0.01, 0.05, 0.1, 0.25, 0.5 or 1, "
                f"not {self.fraction:g}"
            )

    @property
    def stride(self) -> int:
        """s: one frame, or scene, of so many is used."""
        return round(1 / self.fraction)

    def frames(self, shards: Shards) -> Sequence[int]:
        """The frames whose labels are used, in their order; the first frame, or scene, is always among them."""
        if self.level == "frame" or self.stride == 1:
            return range(0, len(shards), self.stride)
        taken = set(list(dict.fromkeys(shards.scenes))[:: self.stride])
        return [index for index, scene in enumerate(shards.scenes) if scene in taken]


@dataclass(frozen=True)
class FinetuneLoss:
    """Weights of the two losses; 0 leaves one out."""

    cross_entropy: float = 1.0
    """Weight of the mean cross-entropy over the labeled voxels."""
    lovasz: float = 1.0
    """Weight of Lovasz-softmax."""

    def __post_init__(self) -> None:
        if not self.cross_entropy and not self.lovasz:
            raise ConfigError("nothing to learn: give loss.cross_entropy or loss.lovasz a weight")


@dataclass(frozen=True)
class FinetuneConfig:
    """Supervised training of a student, from a pre-trained backbone or from random, on a part of the labels."""

    start: str | None = None
    """Folder of a pre-trained student, runs/NAME/student or a checkpoint, whose backbone is taken over; none:
    random weights."""
    head: Literal["new", "text"] = "new"
    """`new`: the classifier begins at random, as in the paper; `text`: it begins as what a distilled start says of
    the classes by their words, whose class list must be that of the labels."""
    freeze: bool = False
    """Linear probing: train the classifier alone; the backbone keeps its weights and its statistics."""
    labels: LabelsConfig = LabelsConfig()
    """Which labels are used."""
    data: DataConfig = DataConfig()
    """What is trained and scored on."""
    student: StudentConfig = StudentConfig()
    """The 3D network; that of the start."""
    augmentation: Augmentation = Augmentation()
    """Changes of the training clouds."""
    loss: FinetuneLoss = FinetuneLoss()
    """The losses."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.02, head_lr=2.0, dampening=0.1)
    """Optimizer and schedule."""
    loop: LoopConfig = LoopConfig(epochs=24, batch=8)
    """The training loop."""
    validation: ValidationConfig = NO_VALIDATION
    """Training scenes that are held out and scored on as the training goes."""
    free_norms: float = 1.0
    """Share of the epochs in which batch norms follow each batch; after it they keep their statistics, so that
    the rest of the training learns with what evaluation uses. Needed where a worker's batch is a frame or two."""
    min_steps: int = 0
    """Optimizer steps at least: loop.epochs is raised where few frames make short epochs."""
    scale: ScaleConfig = ScaleConfig()
    """Workers and what each is given."""
    tracking: TrackingConfig = TrackingConfig(experiment="finetune")
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""

    def __post_init__(self) -> None:
        if not 0 <= self.free_norms <= 1:
            raise ConfigError(f"free_norms is a share of the epochs, 0 to 1, not {self.free_norms:g}")
        if self.augmentation.lidar_sweeps:
            raise ConfigError("only keyframes have labels: set augmentation.lidar_sweeps to 0")
        if self.augmentation.image != ImageAugmentation():
            raise ConfigError("fine-tuning reads no images: leave augmentation.image.* as they are")

    @property
    def protocol(self) -> str:
        """What the scores of such a run may be compared with."""
        what = "linear probing" if self.freeze else "finetune"
        share = f"{100 * self.labels.fraction:.4g}%"
        return f"{what} {share} {self.labels.level}s" if self.labels.stride > 1 else f"{what} {share}"


class FineTuning(Method):
    """The student learns the labels of voxels; the label of a voxel is that of its first point."""

    student: Student

    def __init__(
        self,
        student: Student,
        loss: FinetuneLoss = FinetuneLoss(),
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


def run(config: FinetuneConfig) -> None:
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
        )
    )


_SPVCNN, _MINKUNET = NETWORKS["spvcnn"], NETWORKS["minkunet14a"]
_PAPER = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.1), _SPVCNN),
    optimizer=OptimizerConfig(lr=0.02, dampening=0.1),
    loop=LoopConfig(epochs=24, batch=8),
    scale=ScaleConfig(workers=2),
)
_SCANNET = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.05), _MINKUNET),
    augmentation=Augmentation(shear=0.1),
    optimizer=OptimizerConfig(lr=0.1, dampening=0.1),
    loop=LoopConfig(epochs=300, batch=8),
    scale=ScaleConfig(workers=2),
)
_OURS = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.1, feature_scale=1 / 255), _SPVCNN), min_steps=2000
)
_SYNTHETIC = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), NETWORKS["tiny"]),
    augmentation=Augmentation(scale_jitter=0.05),
    optimizer=OptimizerConfig(
        "adamw", lr=1e-2, head_lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1
    ),
    loop=LoopConfig(epochs=10, batch=2, checkpoint_every=200),
    free_norms=0.5,
    min_steps=300,
    scale=ScaleConfig(workers=2),
)

PRESETS = {
    "synthetic": _SYNTHETIC,
    "synthetic_text": replace(
        _SYNTHETIC, head="text", free_norms=0.0, optimizer=replace(_SYNTHETIC.optimizer, lr=1e-3)
    ),
    "nuscenes": _OURS,
    "semantickitti": replace(_OURS, student=StudentConfig(VoxelConfig(0.1), _SPVCNN)),
    "scannet": replace(_SCANNET, optimizer=OptimizerConfig(lr=0.1, head_lr=1.0, dampening=0.1)),
    "paper_nuscenes": _PAPER,
    "paper_semantickitti": replace(
        _PAPER, loop=LoopConfig(epochs=100, batch=16), scale=ScaleConfig(workers=1)
    ),
    "paper_scannet": _SCANNET,
}
"""`synthetic`: minutes on two cores; `synthetic_text`: for a few labels on top of a distilled start, which keeps
more of it. The `paper` ones are what the authors' code ran (clip2scene.md 6.4): one learning rate for trunk and
head, since the group that was meant for the head was empty; SemanticKITTI's number of epochs is SLidR's, for the
paper's is not known. The others have the head's rate as it was meant, features of one
range in all data sets, and as many steps on 1 % of nuScenes as SLidR's 100 epochs."""


def main() -> None:
    """Entry point."""
    command(run, FinetuneConfig, PRESETS, "python -m trainables.finetune")
