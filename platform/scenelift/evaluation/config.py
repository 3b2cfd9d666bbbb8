"""Settings of scoring and of validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.config.constraints import NonNegativeInt, PositiveInt, Settings
from scenelift.errors import ConfigError

Absent = Literal["leave out", "count as one"]


@dataclass(frozen=True)
class ValidationConfig(Settings):
    """Training scenes that are scored on during the training instead of trained on."""

    holdout_every: NonNegativeInt = 0
    """Hold out every n-th training scene (of captioned images: every n-th image); 0: none."""
    max_samples: PositiveInt = 200
    """Score at most N of the held-out samples, spread evenly."""
    every: PositiveInt = 1
    """Epochs between two validations; the last epoch is always validated."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.holdout_every == 1:
            raise ConfigError("validation.holdout_every must be 0 or at least 2: 1 would hold out all scenes")


NO_VALIDATION = ValidationConfig()
