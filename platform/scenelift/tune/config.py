"""Settings of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.errors import ConfigError


@dataclass(frozen=True)
class SweepConfig:
    """How a sweep searches. Everything else on the command line is the trainable's and is the same in all trials;
    what is given there is not searched."""

    trials: int = 16
    """Trials in all; the first has the preset's own values."""
    search: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    """`tpe`: Optuna's estimator, which learns from trials; `random`; `grid`: every combination of listed values;
    `pbt`: population based training, in which bad trials take over good ones' weights and settings on the way."""
    objective: str | None = None
    """Metric to maximize on training scenes that are held out, one of the trainable's objectives; none: its first.
    The test scenes are never looked at."""
    early_stopping: bool = True
    """Give up trials that are worse than half of the others after a quarter, or a half, of the training (ASHA)."""
    holdout_every: int = 5
    """One training scene of so many is held out."""
    max_concurrent: int | None = None
    """Trials at once; none: as many as fit."""
    retries: int = 1
    """How often a trial that failed is tried again."""
    seed: int = 0
    """Of the search; that of the trials is loop.seed."""
    name: str | None = None
    """Name of the sweep and of its folder; none: that of the search and the time."""
    resume: str | None = None
    """Name of an interrupted sweep to go on with, with all of its settings."""

    def __post_init__(self) -> None:
        for name in ("trials", "retries", "holdout_every"):
            if getattr(self, name) < (0 if name == "retries" else 1):
                raise ConfigError(f"--{name} {getattr(self, name)} is too few")
        if self.search == "pbt" and self.trials < 4:
            raise ConfigError(f"pbt needs a population of 4 trials or more, not {self.trials}")
