"""Settings that trainables share: which shards, and the teachers of presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenelift.errors import ConfigError
from scenelift.evaluation.config import Absent
from scenelift.points.config import Augmentation
from scenelift.runs.config import DataConfig
from scenelift.teachers.config import TEACHERS


@dataclass(frozen=True)
class SegmentationData(DataConfig):
    """Which shards of frames are trained and scored on."""

    absent_classes: Absent = "leave out"
    """Classes neither true nor predicted: left out of the mean, or counted as one as the paper's code did."""


def require_same_images(augmentation: Augmentation, key: str) -> None:
    """ConfigError if features of images cannot be cached (setting `key`), as the images differ between epochs."""
    image = augmentation.image
    if image.crop or image.flip or image.views:
        raise ConfigError(
            f"{key} is for the same images every epoch: write --{key} 0, or --augmentation.image.crop false "
            "--augmentation.image.flip false --augmentation.image.views 0"
        )


TINY_TEACHER, CLIP_TEACHER = TEACHERS["tiny"], TEACHERS["clip"]

PAPER_TEACHER = replace(CLIP_TEACHER, normalize=False, activation="gelu")
"""CLIP ViT-B/16 as CLIP2Scene's code ran it, with both mistakes."""
