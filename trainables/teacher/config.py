"""Settings and presets of `trainables.teacher`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenelift.errors import ConfigError


@dataclass(frozen=True)
class TeacherTraining:
    """Training of the tiny teacher on region captions."""

    root: Path = Path("data/synthetic-teacher")
    """World with region captions, as python -m datasets.synthetic teacher writes it."""
    version: str = "v1.0-synthetic"
    """Name of the folder of tables inside `root`."""
    out: Path = Path("runs/teacher/tiny_clip.safetensors")
    """File to write: weights, how they are built, and how they came about."""
    steps: int = 7000
    """Optimizer steps."""
    images: int = 4
    """Images a step."""
    regions: int = 32
    """Regions an image."""
    learning_rate: float = 1e-3
    """Highest learning rate of AdamW."""
    weight_decay: float = 0.05
    """Decay of AdamW; gains and biases have none."""
    warmup: int = 30
    """Steps over which the learning rate rises."""
    clip_norm: float = 1.0
    """Largest length of a step's gradient."""
    held_out: float = 0.1
    """Share of the scenes, the last ones, that training never sees."""
    seed: int = 0
    """Decides the first weights and every draw."""
    threads: int = 0
    """Threads; 0 means one per core."""

    def __post_init__(self) -> None:
        for name in ("steps", "images", "regions", "learning_rate", "clip_norm"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}")
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out must be between 0 and 1, not {self.held_out}")


PRESETS = {"synthetic": TeacherTraining()}
"""Trainings by name; the first is the default."""
