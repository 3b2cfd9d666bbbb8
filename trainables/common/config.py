"""Settings that trainables share: teachers that presets name, and what they choose between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from scenelift.evaluation.config import Absent
from scenelift.runs.config import DataConfig
from scenelift.teachers.config import TeacherConfig

Prompts = Literal["words", "paper", "semantickitti", "cityscapes", "all"]


@dataclass(frozen=True)
class SegmentationData(DataConfig):
    """Which shards of frames are trained and scored on."""

    absent_classes: Absent = "leave out"
    """Classes neither true nor predicted: left out of the mean, or counted as one as the paper's code did."""


TINY_TEACHER = TeacherConfig(weights="trainables/weights/tiny_clip.safetensors")
"""Trained by `trainables.teacher` on region captions of the synthetic world; ships with the repository."""

CLIP_TEACHER = TeacherConfig(model="ViT-B-16-quickgelu", weights="openai", image_size=(224, 416))
"""CLIP ViT-B/16 as OpenAI trained it, read as CLIP2Scene reads it except for its two mistakes: images are
normalized and the activation is the one of the weights (clip2scene.md 8.2)."""

PAPER_TEACHER = replace(CLIP_TEACHER, normalize=False, activation="gelu")
"""CLIP ViT-B/16 as CLIP2Scene's code ran it, mistakes included: another labeler than CLIP_TEACHER."""
