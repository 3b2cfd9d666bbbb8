"""CLIP2Scene: a frozen CLIP names pixels, calibration says which points they show, a 3D network learns from it.

`python -m trainables.distill [PRESET] [--group.field VALUE ...]`

Three parts (clip2scene.md 4): semantic consistency, spatial-temporal consistency, switchable self-training.
Their losses are in `distill_losses.py`; the method below wires them to the teacher and the student.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scenelift.augmentation import Augmentation
from scenelift.batches import Batch, Collate, VoxelConfig
from scenelift.clip import DenseClip, TeacherConfig, build_teacher
from scenelift.config import command
from scenelift.errors import ConfigError
from scenelift.experiment import DataConfig
from scenelift.launch import ScaleConfig
from scenelift.methods import Method, Progress
from scenelift.networks import MINKUNET_TINY
from scenelift.optimisers import OptimiserConfig
from scenelift.runs import RunConfig
from scenelift.sampling import sample
from scenelift.student import Student, StudentConfig
from scenelift.tracking import TrackingConfig
from scenelift.training import LoopConfig
from trainables import distill_losses as losses
from trainables.segmentation import Training, open_data, run_training
from trainables.teachers import CLIP_TEACHER, TINY_TEACHER


@dataclass(frozen=True)
class LossConfig:
    """Weights and forms of the losses; a weight of 0 leaves a loss out."""

    semantic: float = 1.0
    """Weight of semantic consistency."""
    semantic_form: Literal["classes", "points"] = "classes"
    """`classes`: cross-entropy over the classes of each point, as the paper's code has it; `points`: the
    paper's Eq. 1, which contrasts the points of each class."""
    temperature: float = 1.0
    """Logits are divided by this; the paper's code has none (1), its Eq. 1 says 0.5."""
    balance: float = 0.0
    """A class weighs (its share of the batch's pseudo-labels) ** -balance; the paper weighs all alike (0).
    At 0.5 a short training does not forget rare classes."""
    surest: float = 1.0
    """Share of a batch's pairs that are learnt from: those whose best class leads the second by most. The
    paper learns from all (1); where patches straddle two things the teacher is unsure and mostly wrong."""

    spatial_temporal: float = 0.0
    """Weight of spatial-temporal consistency."""
    spatial_temporal_form: Literal["code", "joint", "cosine"] = "code"
    """`code`: point features only, one label a cell; `joint`: the paper's Eq. 2-4, point and pixel features;
    `cosine`: each point against its pixel, no cells (what the paper's code does on ScanNet)."""
    grid: float = 0.1
    """Edge of the cells in which pairs are fused, metres."""
    cap: int | None = None
    """Pairs of a cell that take part; the paper's code takes 8. For `code`."""
    sharpness: float = 1.0
    """Attention scores are divided by this: lambda of Eq. 3. For `joint`."""
    image_features: Literal["clip", "frozen", "trained"] = "clip"
    """Pixel features for `joint` and `cosine`: CLIP's own projection; a random projection of its tokens, kept
    as it is (the paper's code); or one that is trained (the paper)."""

    remember: int = 0
    """Frames for which each worker keeps what the teacher said of their patches, so that the teacher sees a
    frame once and not every epoch; for images that are not cropped or mirrored."""

    def __post_init__(self) -> None:
        for name in ("temperature", "sharpness", "grid"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"loss.{name} is positive, not {getattr(self, name)}")
        if not 0 < self.surest <= 1:
            raise ConfigError(f"loss.surest is a share above 0 and up to 1, not {self.surest}")
        if self.cap is not None and self.cap < 1:
            raise ConfigError(f"loss.cap is at least 1, or none, not {self.cap}")
        if not self.semantic and not self.spatial_temporal:
            raise ConfigError("nothing to learn: give loss.semantic or loss.spatial_temporal a weight")

    @property
    def cells(self) -> bool:
        """Whether the pairs' grid cells are needed."""
        return bool(self.spatial_temporal) and self.spatial_temporal_form != "cosine"

    @property
    def pixels(self) -> bool:
        """Whether the pixels' features are needed, beside their labels."""
        return bool(self.spatial_temporal) and self.spatial_temporal_form != "code"

    @property
    def projected(self) -> bool:
        """Whether the student carries a projection of the teacher's tokens."""
        return self.pixels and self.image_features != "clip"


@dataclass(frozen=True)
class SelfTrainingConfig:
    """Switchable self-training: from some epoch on the student's own labels replace the teacher's at random."""

    start: int | None = None
    """Epochs done before it starts; none: never. The paper says 10 of 20, its code starts at 11."""
    probability: float = 0.5
    """That a step, or a pair, switches."""
    scope: Literal["batch", "point"] = "batch"
    """What switches at once: all pairs of a step, as the paper's code has it, or each by itself."""
    threshold: float = 0.0
    """Own labels count where the softmax of the best class is at least this; the paper has none (0)."""
    unpaired: float = 0.0
    """Weight of the same loss on points that no camera sees, in switched steps; the paper's code computes and
    then forgets it (0)."""

    def __post_init__(self) -> None:
        for name in ("probability", "threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"self_training.{name} lies in 0..1, not {getattr(self, name)}")
        if self.start is None and self.unpaired:
            raise ConfigError("self_training.unpaired needs self_training.start")


NO_SELF_TRAINING = SelfTrainingConfig()


@dataclass(frozen=True)
class DistillConfig:
    """CLIP2Scene: distil a dense CLIP teacher into a sparse 3D student, without labels."""

    data: DataConfig = DataConfig()
    """What is trained and scored on."""
    teacher: TeacherConfig = CLIP_TEACHER
    """The 2D vision-language model."""
    student: StudentConfig = StudentConfig()
    """The 3D network."""
    augmentation: Augmentation = Augmentation()
    """Changes of the training frames."""
    loss: LossConfig = LossConfig()
    """The losses."""
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    """Learning from its own labels."""
    optimiser: OptimiserConfig = OptimiserConfig(dampening=0.1)
    """Optimiser and schedule."""
    loop: LoopConfig = LoopConfig()
    """The training loop."""
    scale: ScaleConfig = ScaleConfig()
    """Workers and what each is given."""
    tracking: TrackingConfig = TrackingConfig(experiment="distill")
    """MLflow."""
    run: RunConfig = RunConfig()
    """The run's folder."""

    def __post_init__(self) -> None:
        image = self.augmentation.image
        if self.loss.remember and (image.crop or image.flip or image.views):
            raise ConfigError(
                "loss.remember is for the same images every epoch: set it to 0, or augmentation.image.crop and "
                "flip to false and views to 0"
            )
        if self.self_training.start is not None and self.self_training.start >= self.loop.epochs:
            raise ConfigError(
                f"self_training.start {self.self_training.start} is never reached in loop.epochs "
                f"{self.loop.epochs}"
            )


class Clip2Scene(Method):
    """The student learns to say of a point what the teacher says of its pixel."""

    student: Student
    teacher: DenseClip

    def __init__(
        self,
        student: Student,
        teacher: DenseClip,
        loss: LossConfig,
        self_training: SelfTrainingConfig = NO_SELF_TRAINING,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.loss = student, teacher, loss
        self.self_training, self.seed = self_training, seed
        if loss.projected and loss.image_features == "frozen":
            student.projections["image"].requires_grad_(False)
        weights = {
            "semantic": loss.semantic,
            "spatial_temporal": loss.spatial_temporal,
            "unpaired": self_training.unpaired,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.remembered: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        scores, tokens = self.look(batch)
        labels, lead = leading(self._at_pairs(scores, batch))
        sure = surest(lead, self.loss.surest)
        features = self.student(batch.voxels)
        named, paired = labels[sure], features[batch.pair_voxel[sure]]
        found: dict[str, Tensor] = {}
        switched = self._switched(progress)
        if self.loss.semantic:
            logits = self.student.class_logits(paired)
            targets = self._targets(logits, named, progress) if switched else named
            found["semantic"] = self._semantic(logits, targets)
        if self.loss.spatial_temporal:
            found["spatial_temporal"] = self._spatial_temporal(paired, named, tokens, batch, sure)
        if self.self_training.unpaired:
            found["unpaired"] = self._unpaired(features, batch) if switched else features.sum() * 0
        return found

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the teacher says of all patches: scores [I, C, h, w], and its tokens [I, K, h, w].

        The tokens are empty where no loss needs them. Frame by frame, so that what is remembered does not
        depend on a frame's neighbours in the batch.
        """
        said = []
        for i, token in enumerate(batch.tokens):
            here = self.remembered.get(token)
            if here is None:
                tokens = self.teacher.tokens(batch.images[batch.image_frame == i])
                scores = self.teacher.compare(self.teacher.project(tokens))
                here = scores, tokens if self.loss.pixels else tokens[:, :0]
                if len(self.remembered) < self.loss.remember:
                    self.remembered[token] = here
            said.append(here)
        return torch.cat([scores for scores, _ in said]), torch.cat([tokens for _, tokens in said])

    def _at_pairs(self, grid: Tensor, batch: Batch, align_corners: bool = False) -> Tensor:
        """[I, K, h, w] -> [M, K] at the pairs' pixels."""
        image, row, column = batch.pair_pixels.unbind(1)
        height, width = batch.images.shape[-2:]
        return sample(grid, image, row, column, (height, width), align_corners)

    def _semantic(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.loss.semantic_form == "points":
            return losses.semantic_contrast(logits, targets, self.loss.temperature)
        return losses.semantic_consistency(logits, targets, self.loss.temperature, self.loss.balance)

    def _switched(self, progress: Progress) -> bool:
        start = self.self_training.start
        return start is not None and progress.epoch >= start

    def _targets(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        config = self.self_training
        scaled = logits / self.loss.temperature
        seed = self.seed * 1_000_003 + progress.step
        return losses.switched_labels(
            scaled, labels, config.probability, config.scope, config.threshold, seed
        )

    def _spatial_temporal(
        self, paired: Tensor, labels: Tensor, tokens: Tensor, batch: Batch, sure: Tensor
    ) -> Tensor:
        config, text = self.loss, self.student.text
        with torch.autocast(paired.device.type, enabled=False):
            features = self.student.heads["local"](paired.float())
            pixels = self._pixels(tokens, batch)[sure] if config.pixels else None
            if config.spatial_temporal_form == "cosine":
                assert pixels is not None
                return losses.image_cosine(features, pixels)
            assert batch.pair_cell is not None, "spatial-temporal consistency needs Collate.grid"
            cell = torch.unique(batch.pair_cell[sure], return_inverse=True)[1]
            if pixels is None:
                return losses.spatial_temporal(features, labels, cell, text, config.cap)
            return losses.spatial_temporal_joint(features, pixels, labels, cell, text, config.sharpness)

    def _pixels(self, tokens: Tensor, batch: Batch) -> Tensor:
        """[M, D] unit features of the pairs' pixels; a linear map may as well follow the sampling."""
        if self.loss.image_features == "clip":
            return F.normalize(self._at_pairs(self.teacher.project(tokens), batch), dim=1)
        projection: nn.Module = self.student.projections["image"]
        return F.normalize(projection(self._at_pairs(tokens.float(), batch, align_corners=True)), dim=1)

    def _unpaired(self, features: Tensor, batch: Batch) -> Tensor:
        alone = torch.ones_like(batch.point_voxel, dtype=torch.bool).index_fill_(0, batch.pair_points, False)
        points = torch.bincount(batch.point_voxel[alone], minlength=len(features))
        voxels = torch.nonzero(points).squeeze(1)
        logits = self.student.class_logits(features[voxels]) / self.loss.temperature
        return losses.unpaired_consistency(logits, points[voxels], self.self_training.threshold)


def leading(scores: Tensor) -> tuple[Tensor, Tensor]:
    """[M, C] scores -> the best class (int64 [M], 0..C-1) and how far it leads the second (float32 [M])."""
    best = scores.topk(2, dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, 1]


def surest(lead: Tensor, share: float) -> Tensor:
    """[K] which of M pairs are the given share with the largest lead; K is rounded up, in their order."""
    return lead.topk(math.ceil(share * len(lead)), sorted=False).indices.sort().values


def make_method(config: DistillConfig, initial: Path) -> Clip2Scene:
    """The method with the student that the folder holds; called in every training worker."""
    student = Student.load(initial)
    teacher = build_teacher(config.teacher, student.vocabulary)
    return Clip2Scene(student, teacher, config.loss, config.self_training, config.loop.seed)


def make_student(config: DistillConfig, teacher: DenseClip, point_features: int) -> Student:
    """An untrained student with the heads and projections that the losses need."""
    width = teacher.text.shape[1]
    heads = {"semantic": width} | ({"local": width} if config.loss.spatial_temporal else {})
    projections = {"image": (teacher.visual.proj.shape[0], width)} if config.loss.projected else None
    return Student(config.student, point_features, teacher.text, teacher.vocabulary, heads, projections)


def run(config: DistillConfig) -> None:
    """Score the teacher, distil, score the student, show both."""
    train, test = open_data(config.data)
    teacher = build_teacher(config.teacher, train.vocabulary)
    run_training(
        Training(
            command="distill",
            config=config,
            train=train,
            test=test,
            student=lambda: make_student(config, teacher, train.point_features),
            collate=Collate(
                config.student.voxels,
                config.augmentation,
                config.loop.seed,
                grid=config.loss.grid if config.loss.cells else None,
            ),
            build=partial(make_method, config),
            tags={"teacher": config.teacher.model, "protocol": "label-free"},
            teacher=config.teacher,
        )
    )


PRESETS = {
    "synthetic": DistillConfig(
        teacher=TINY_TEACHER,
        student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), MINKUNET_TINY),
        augmentation=Augmentation(scale=0.05),
        loss=LossConfig(temperature=0.2, balance=0.5, surest=0.7, remember=1000),
        optimiser=OptimiserConfig("adamw", lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1),
        loop=LoopConfig(epochs=20, batch=4, checkpoint_every=200),
        scale=ScaleConfig(workers=2),
    ),
    "nuscenes": DistillConfig(),
}
"""`synthetic`: minutes on two cores; `nuscenes`: CLIP ViT-B/16 into MinkUNet14A, trained as in section 5."""


def main() -> None:
    """Entry point."""
    command(run, DistillConfig, PRESETS, "python -m trainables.distill")


if __name__ == "__main__":
    from trainables.distill import main

    main()
