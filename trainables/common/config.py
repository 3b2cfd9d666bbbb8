"""Settings that trainables share: which shards, and the teachers of presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenelift.evaluation.config import Absent
from scenelift.runs.config import DataConfig
from scenelift.teachers.config import TeacherConfig


@dataclass(frozen=True)
class SegmentationData(DataConfig):
    """Which shards of frames are trained and scored on."""

    absent_classes: Absent = "leave out"
    """Classes neither true nor predicted: left out of the mean, or counted as one as the paper's code did."""


TINY_TEACHER = TeacherConfig(weights="trainables/weights/tiny_clip.safetensors")
"""Trained by `trainables.teacher` on region captions of the synthetic world; ships with the repository."""

CLIP_TEACHER = TeacherConfig(model="ViT-B-16-quickgelu", weights="openai", image_size=(224, 416))
"""OpenAI's CLIP ViT-B/16, read as CLIP2Scene reads it but without its two mistakes: images are normalized, and the
activation is that of the weights (clip2scene.md 8.2)."""

PAPER_TEACHER = replace(CLIP_TEACHER, normalize=False, activation="gelu")
"""CLIP ViT-B/16 as CLIP2Scene's code ran it, with both mistakes."""
