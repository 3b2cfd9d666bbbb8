"""The 3D student: a sparse backbone with linear heads into the text embedding space."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scenelift.config import build as configuration
from scenelift.errors import ScaleError
from scenelift.nn.config import StudentConfig
from scenelift.nn.saved import SavedStudent
from scenelift.nn.spvcnn import build_network
from scenelift.points.collate import NO_AUGMENTATION, Collate
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary
from scenelift.sparse.sites import Voxels

_OTHER_SCALE = 50.0
"""Features that reach so many times as far, or only a part as small, as in training are of another scale."""


class Student(SavedStudent):
    """Backbone, linear heads on its features, and the text prototypes of the classes.

    Heads (clip2scene.md 3.1), each a Linear without activation, so that it may be applied to any subset of
    voxels: `semantic` is compared with text; `local` is for spatial-temporal consistency; `classifier` has one
    output per class and, if present, predicts the classes instead of the text.
    Projections are Linears that a training applies to the 2D side; they are saved and restored with the rest.
    """

    text: Tensor
    reach: Tensor
    """Largest feature of a point, scaled as the network sees it, that it was trained on; 0: it was not trained. It
    tells an intensity of 0..1 from one of 0..255, which would be read without a word."""
    temperature: float = 1.0
    """Its class logits over this are those that training turned into probabilities."""
    teacher: Mapping[str, Any] | None = None
    """Settings of the teacher whose text it is compared with, a `TeacherConfig` as plain values; None: no text."""

    def __init__(
        self,
        config: StudentConfig,
        point_features: int,
        text: Tensor,
        vocabulary: Vocabulary,
        heads: Mapping[str, int],
        projections: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """heads: name -> channels; projections: name -> (channels in, channels out)."""
        super().__init__()
        assert text.shape[0] == len(vocabulary.classes), f"{len(text)} prototypes for {vocabulary.classes}"
        self.config, self.point_features, self.vocabulary = config, point_features, vocabulary
        self.backbone = build_network(config.voxels.channels(point_features), config.network)
        width = self.backbone.out_channels
        self.heads = nn.ModuleDict({name: nn.Linear(width, channels) for name, channels in heads.items()})
        linears = {name: nn.Linear(*channels) for name, channels in (projections or {}).items()}
        self.projections = nn.ModuleDict(linears)
        self.register_buffer("text", text.float().clone())
        self.register_buffer("reach", torch.zeros(()), persistent=False)

    def forward(self, voxels: Voxels) -> Tensor:
        """[V, C] backbone features of every voxel."""
        if self.training:
            torch.maximum(self.reach, self._reach_of(voxels), out=self.reach)
        return self.backbone(voxels)

    @torch.no_grad()
    def _reach_of(self, voxels: Voxels) -> Tensor:
        own = voxels.features[:, : self.point_features].float().abs()
        return own.amax() if own.numel() else own.new_zeros(())

    def require_scale(self, voxels: Voxels, name: str) -> None:
        """ScaleError if the points' features are of another scale than those that the student was trained on; name:
        what the message begins with."""
        here, known = float(self._reach_of(voxels)), float(self.reach)
        if known and here and not 1 / _OTHER_SCALE < here / known < _OTHER_SCALE:
            raise ScaleError(
                f"{name} has features up to {here:.3g}, the student was trained on features up to {known:.3g}: "
                "give it features of the same scale (intensities of 0..255 are not remissions of 0..1)"
            )

    def class_logits(self, features: Tensor, text: Tensor | None = None) -> Tensor:
        """[*, C] class logits, in float32.

        The classifier's outputs, or the raw dot products of the semantic head with the text (clip2scene.md 6.1):
        there is no void class and nothing is normalized, so the features' length is their confidence. text:
        [C, D] prototypes to compare with instead of the student's own.
        """
        with torch.autocast(features.device.type, enabled=False):
            if "classifier" in self.heads:
                return self.heads["classifier"](features.float())
            return self.heads["semantic"](features.float()) @ (self.text if text is None else text).T

    @torch.inference_mode()
    def look(self, frame: Frame) -> tuple[Tensor, Tensor]:
        """Backbone features [V, C] of the voxels of a frame's keyframe, and the voxel [N_k] of each of its points.

        DataError for points that are not finite or too far, ScaleError for features of another scale.
        """
        collate = Collate(self.config.voxels, NO_AUGMENTATION, images=False)
        batch = collate([frame]).to(self.text.device)
        self.require_scale(batch.voxels, frame.token)
        return self(batch.voxels), batch.point_voxel

    @torch.inference_mode()
    def predict(self, frame: Frame) -> NDArray[np.uint8]:
        """[N_k] the predicted label 1..C of each keyframe point of a frame, whether or not a camera sees it."""
        features, point_voxel = self.look(frame)
        labels = 1 + self.class_logits(features).argmax(1)[point_voxel]
        return labels.to(torch.uint8).cpu().numpy()

    def description(self) -> dict[str, Any]:
        return {
            "config": configuration.to_dict(self.config),
            "point_features": self.point_features,
            "reach": float(self.reach),
            "temperature": self.temperature,
            "teacher": self.teacher,
            "heads": {name: _channels(head)[1] for name, head in self.heads.items()},
            "projections": {name: _channels(linear) for name, linear in self.projections.items()},
            "vocabulary": dataclasses.asdict(self.vocabulary),
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        student = cls(
            configuration.from_dict(StudentConfig, description["config"]),
            description["point_features"],
            weights["text"],
            configuration.from_dict(Vocabulary, description["vocabulary"]),
            description["heads"],
            {name: (wide, out) for name, (wide, out) in description["projections"].items()},
        )
        student.reach.fill_(description.get("reach", 0.0))  # earlier students have none of these
        student.temperature = float(description.get("temperature", 1.0))
        student.teacher = description.get("teacher")
        return student


def _channels(linear: nn.Module) -> tuple[int, int]:
    assert isinstance(linear, nn.Linear)
    return linear.in_features, linear.out_features
