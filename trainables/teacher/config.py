"""Settings and presets of `trainables.teacher`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Gt, Lt

from scenelift.config.constraints import (
    Exists,
    FolderName,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    Settings,
)


@dataclass(frozen=True)
class TeacherTraining(Settings):
    """Training of the tiny teacher on region captions."""

    root: Annotated[Path, Exists("write it with: python -m datasets.synthetic teacher")] = Path(
        "data/synthetic-teacher"
    )
    """World with region captions, as python -m datasets.synthetic teacher writes it."""
    version: Annotated[str, FolderName()] = "v1.1-synthetic"
    """Name of the folder of tables inside `root`."""
    out: Path = Path("runs/teacher/tiny_clip.safetensors")
    """File to write: weights, how they are built, and how they came about."""
    steps: PositiveInt = 7000
    """Optimizer steps."""
    images: PositiveInt = 4
    """Images a step."""
    regions: PositiveInt = 32
    """Regions an image."""
    learning_rate: PositiveFloat = 1e-3
    """Highest learning rate of AdamW."""
    weight_decay: NonNegativeFloat = 0.05
    """Decay of AdamW; gains and biases have none."""
    warmup: NonNegativeInt = 30
    """Steps over which the learning rate rises."""
    clip_norm: PositiveFloat = 1.0
    """Largest length of a step's gradient."""
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the scenes, the last ones, that training never sees."""
    seed: Seed = 0
    """Decides the first weights and every draw."""
    threads: NonNegativeInt = 0
    """Threads; 0 means one per core."""


PRESETS = {"synthetic": TeacherTraining()}
"""Trainings by name; the first is the default."""
