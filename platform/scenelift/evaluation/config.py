"""Settings of scoring and of validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.errors import ConfigError

Absent = Literal["leave out", "count as one"]


@dataclass(frozen=True)
class ValidationConfig:
    """Training scenes that are scored on during the training instead of trained on."""

    holdout_every: int = 0
    """Hold out every n-th training scene (of captioned images: every n-th image); 0: none."""
    max_samples: int = 200
    """Score at most N of the held-out samples, spread evenly."""
    every: int = 1
    """Epochs between two validations; the last epoch is always validated."""

    def __post_init__(self) -> None:
        if self.holdout_every == 1 or self.holdout_every < 0:
            raise ConfigError(
                f"validation.holdout_every is 0, or 2 and more (every n-th is held out), not {self.holdout_every}"
            )
        for name in ("max_samples", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"validation.{name} is at least 1, not {getattr(self, name)}")


NO_VALIDATION = ValidationConfig()
