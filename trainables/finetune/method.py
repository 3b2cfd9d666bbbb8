"""Supervised training of a student on a part of the labels, from a pre-trained backbone or from random.

The student gets a new head, `classifier`, with one output per class, trained with cross-entropy and
Lovasz-softmax on the labeled points (clip2scene.md 6.4). The class list is that of the labels, so a backbone may
come from another data set if point features have the same range in both: nuScenes' intensity is 0..255 and
SemanticKITTI's remission 0..1; `student.voxels.feature_scale` 1/255 and 1 make them equal.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.geometry.segments import segment_first
from scenelift.nn.lovasz import lovasz_softmax
from scenelift.nn.student import Student
from scenelift.points.collate import PointBatch
from scenelift.train.method import Method, Progress
from trainables.finetune.config import FinetuneLoss


class FineTuning(Method):
    """The student learns the labels of voxels; the label of a voxel is that of its first point."""

    student: Student

    def __init__(
        self, student: Student, loss: FinetuneLoss, freeze: bool = False, free_norms: float = 1.0
    ) -> None:
        super().__init__()
        self.student, self.frozen, self.free_norms = student, freeze, free_norms
        weights = {"cross_entropy": loss.cross_entropy, "lovasz": loss.lovasz}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        student.backbone.requires_grad_(not freeze)

    def forward(self, batch: PointBatch, progress: Progress) -> dict[str, Tensor]:
        # Only batch norms depend on the mode; a frozen backbone keeps their statistics too.
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
