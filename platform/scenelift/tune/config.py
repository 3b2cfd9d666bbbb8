"""Settings of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from scenelift.config.constraints import NonNegativeInt, PositiveInt, Seed, Settings
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class SweepConfig(Settings):
    """How a sweep searches. Everything else on the command line is the trainable's and is the same in all trials;
    what is given there is not searched."""

    trials: PositiveInt = 16
    """Trials in all; the first has the preset's own values."""
    search: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    """`tpe`: Optuna's estimator, which learns from trials; `random`; `grid`: every combination of listed values;
    `pbt`: population based training, in which bad trials copy weights and settings of good ones during training."""
    objective: str | None = None
    """Metric to maximize on training scenes that are held out, one of the trainable's objectives; none: its first.
    The test scenes are never read."""
    early_stopping: bool = True
    """Stop trials that are worse than half of the others after a quarter or half of the training (ASHA)."""
    holdout_every: Annotated[int, Ge(2)] = 5
    """Every n-th training scene is held out."""
    max_concurrent: PositiveInt | None = None
    """Trials at the same time; none: as many as fit."""
    retries: NonNegativeInt = 1
    """How often a trial that failed is tried again."""
    seed: Seed = 0
    """Seed of the search; loop.seed is that of the trials."""
    name: str | None = None
    """Name of the sweep and of its folder; none: name of the search, and the time."""
    resume: str | None = None
    """Name of an interrupted sweep to continue, with all of its settings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search == "pbt" and self.trials < 4:
            raise ConfigError(f"pbt needs a population of 4 trials or more, not {self.trials}")
