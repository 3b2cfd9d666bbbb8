"""Settings and presets of CKD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.errors import ConfigError


@dataclass(frozen=True)
class ContrastConfig:
    """How whole sentences are held against whole images (ckd.md 4)."""

    form: Literal["nce", "margin", "none"] = "nce"
    """`nce`: cross-entropy over the images of the batch; `margin`: hinge loss over the same; `none`: left out."""
    scale: float = 2.0
    """Similarities are multiplied by it: one over the temperature."""
    margin: float = 1.0
    """By how much the own image has to lead; for `margin`."""
    phrases: Literal["sum", "mean"] = "sum"
    """How the phrases of a sentence add up."""
    regions: Literal["max", "logsumexp"] = "max"
    """How well an image holds a phrase: by its best region, or a soft maximum over all."""
    sharpness: float = 10.0
    """Of the soft maximum."""
    negatives: Literal["images", "images and sentences"] = "images"
    """What a pair is held against: other images, or other sentences besides; those of the worker's own batch."""
    mask_same_image: bool = True
    """Another sentence of the same photo is no negative. CKD's code lets it be one."""

    def __post_init__(self) -> None:
        for name in ("scale", "sharpness"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"contrast.{name} is positive, not {getattr(self, name)}")
        if self.form == "margin" and self.negatives != "images":
            raise ConfigError("contrast.form margin knows images alone; set contrast.negatives to images")


@dataclass(frozen=True)
class DistillationConfig:
    """How a detector's belief reaches the student (ckd.md 5)."""

    support: Literal["neighbours", "all", "none"] = "neighbours"
    """Over which regions student and detector are compared: those around the student's own choice, or all; `none`:
    no distillation, and no detector is read."""
    neighbours: int = 8
    """How many regions around the choice, itself included; the shards must hold as many."""
    teacher: Literal["belief", "log belief"] = "belief"
    """What goes into the teacher's softmax: the detector's share of the class, or the logarithm of it."""
    teacher_temperature: float = 1.0
    """Divides that. CKD's code takes 1 for Open Images, 2 for COCO."""
    student_temperature: float = 1.0
    """Divides the student's cosines."""
    start: float = 0.001
    """Weight of the loss at first."""
    rise: float = 1.0
    """How much it grows ..."""
    every: int = 500
    """... after so many steps ..."""
    most: float = 3.0
    """... up to this."""

    def __post_init__(self) -> None:
        for name in ("teacher_temperature", "student_temperature", "every", "neighbours"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"distillation.{name} is positive, not {getattr(self, name)}")
