"""CLIP2Scene: a frozen CLIP names pixels, calibration says which points they show, a 3D network learns from it.

Three parts (clip2scene.md 4): semantic consistency, spatial-temporal consistency, switchable self-training. The
method wires their losses to the teacher and the student.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scenelift.config.build import to_dict
from scenelift.geometry.segments import sample
from scenelift.nn.student import Student
from scenelift.points.collate import PointBatch
from scenelift.teachers.teacher import Teacher
from scenelift.train.method import Method, Progress
from trainables.distill import losses
from trainables.distill.config import (
    NO_SELF_TRAINING,
    DistillConfig,
    DistillLoss,
    SelfTrainingConfig,
)


class Clip2Scene(Method):
    """The student learns to say of a point what the teacher says of its pixel."""

    student: Student
    teacher: Teacher

    def __init__(
        self,
        student: Student,
        teacher: Teacher,
        loss: DistillLoss,
        self_training: SelfTrainingConfig = NO_SELF_TRAINING,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.student, self.teacher, self.loss = student, teacher, loss
        self.self_training, self.seed = self_training, seed
        if loss.projected and loss.image_features == "frozen":
            student.projections["image"].requires_grad_(False)
        if not loss.semantic and not self_training.unpaired:
            student.heads["semantic"].requires_grad_(False)  # parallel workers wait for every gradient
        weights = {
            "semantic": loss.semantic,
            "spatial_temporal": loss.spatial_temporal,
            "unpaired": self_training.unpaired,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.cached: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, batch: PointBatch, progress: Progress) -> dict[str, Tensor]:
        grid, tokens = self.look(batch)
        scores = self._at_pairs(grid, batch)
        labels, margin = leading(scores)
        sure = most_confident(margin, self.loss.confident_fraction)
        features = self.student(batch.voxels)
        named, paired = labels[sure], features[batch.pair_voxel[sure]]
        found: dict[str, Tensor] = {}
        switched = self._switched(progress)
        if self.loss.semantic:
            logits = self.student.class_logits(paired, self.teacher.text)
            targets = self._targets(logits, named, progress) if switched else named
            found["semantic"] = self._semantic(logits, targets, scores[sure])
        if self.loss.spatial_temporal:
            found["spatial_temporal"] = self._spatial_temporal(paired, named, tokens, batch, sure)
        if self.self_training.unpaired:
            found["unpaired"] = self._unpaired(features, batch, switched)
        return found

    def look(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """What the teacher says of all patches: scores [I, C, h, w], and its tokens [I, K, h, w].

        The tokens are empty where no loss needs them. All photos at once, or, where frames are cached, frame by
        frame, so that what is cached does not depend on a frame's neighbours in the batch.
        """
        if not self.loss.cache_frames:
            return self._ask(batch.images)
        said = []
        for i, token in enumerate(batch.tokens):
            here = self.cached.get(token)
            if here is None:
                here = self._ask(batch.images[batch.image_frame == i])
                if len(self.cached) < self.loss.cache_frames:
                    self.cached[token] = here
            said.append(here)
        return torch.cat([scores for scores, _ in said]), torch.cat([tokens for _, tokens in said])

    def _ask(self, images: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.teacher.tokens(images)
        scores = self.teacher.compare(self.teacher.project(tokens))
        return scores, tokens if self.loss.pixels else tokens.new_zeros((len(tokens), 0, 1, 1))

    def _at_pairs(self, grid: Tensor, batch: PointBatch, align_corners: bool = False) -> Tensor:
        """[I, K, h, w] -> [M, K] at the pairs' pixels."""
        image, row, column = batch.pair_pixels.unbind(1)
        height, width = batch.images.shape[-2:]
        return sample(grid, image, row, column, (height, width), align_corners)

    def _semantic(self, logits: Tensor, targets: Tensor, scores: Tensor) -> Tensor:
        if self.loss.semantic_form == "divergence":
            return losses.semantic_divergence(logits, scores, self.loss.temperature)
        if self.loss.semantic_form == "points":
            return losses.semantic_contrast(logits, targets, self.loss.temperature)
        return losses.semantic_consistency(
            logits, targets, self.loss.temperature, self.loss.class_weight_power
        )

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
        self, paired: Tensor, labels: Tensor, tokens: Tensor, batch: PointBatch, sure: Tensor
    ) -> Tensor:
        config, text = self.loss, self.teacher.text
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

    def _pixels(self, tokens: Tensor, batch: PointBatch) -> Tensor:
        """[M, D] unit features of the pairs' pixels; a linear map may as well follow the sampling."""
        if self.loss.image_features == "clip":
            return F.normalize(self._at_pairs(self.teacher.project(tokens), batch), dim=1)
        projection: nn.Module = self.student.projections["image"]
        return F.normalize(projection(self._at_pairs(tokens.float(), batch, align_corners=True)), dim=1)

    def _unpaired(self, features: Tensor, batch: PointBatch, switched: bool) -> Tensor:
        if not switched:  # 0 through the head: parallel workers wait for every gradient
            return self.student.class_logits(features[:0], self.teacher.text).sum() * 0
        alone = torch.ones_like(batch.point_voxel, dtype=torch.bool).index_fill_(0, batch.pair_points, False)
        points = torch.bincount(batch.point_voxel[alone], minlength=len(features))
        voxels = torch.nonzero(points).squeeze(1)
        logits = self.student.class_logits(features[voxels], self.teacher.text) / self.loss.temperature
        return losses.unpaired_consistency(logits, points[voxels], self.self_training.threshold)


def leading(scores: Tensor) -> tuple[Tensor, Tensor]:
    """[M, C] scores -> the best class (int64 [M], 0..C-1) and how far it leads the second (float32 [M]), which is 0
    for a single class."""
    best = scores.topk(min(2, scores.shape[1]), dim=1)
    return best.indices[:, 0], best.values[:, 0] - best.values[:, -1]


def most_confident(margin: Tensor, share: float) -> Tensor:
    """[K] which of M pairs are the given share with the largest margin; K is rounded up, in their order."""
    return margin.topk(math.ceil(share * len(margin)), sorted=False).indices.sort().values


def make_student(config: DistillConfig, teacher: Teacher, point_features: int) -> Student:
    """An untrained student with the heads and projections that the losses need, and the teacher's classes."""
    loss, width = config.loss, teacher.text.shape[1]
    heads = {"semantic": width} | ({"local": width} if loss.spatial_temporal else {})
    projections = {"image": (teacher.token_width, width)} if loss.projected else None
    student = Student(config.student, point_features, teacher.text, teacher.vocabulary, heads, projections)
    student.temperature, student.teacher = loss.temperature, to_dict(config.teacher)
    return student
