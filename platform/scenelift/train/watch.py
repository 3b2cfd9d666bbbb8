"""What a training may do beside its steps; every switch is off by default."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from scenelift.config.constraints import NonNegativeInt, Settings
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class WatchConfig(Settings):
    """What is watched while a training runs, and what follows from it. Nothing, unless it is asked for."""

    metric: str | None = None
    """Validation metric that `early_stopping` and `keep_best` go by, larger is better; none: the first there is."""
    early_stopping: NonNegativeInt = 0
    """Stop after N validations in a row without a better metric; 0: train to the end."""
    keep_best: bool = False
    """Write a checkpoint when a validation finds a better metric, and keep the best besides the newest."""
    final: Literal["last", "best"] = "last"
    """Checkpoint whose student the run scores and keeps: the last, or the best by validation."""
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of an exponential moving average of the student's weights, such as 0.999; 0: none. The average is
    validated, scored, and saved as the student; training goes on with the raw weights."""
    gradient_norm: bool = False
    """Log the norm of the student's gradients before clipping, averaged over steps."""
    profile: str | None = None
    """Optimizer steps START:STOP to profile on the first worker, such as 20:25; writes a trace for Perfetto into
    the run's folder. None: no profile."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.final == "best" and not self.keep_best:
            raise ConfigError("loop.watch.final best needs loop.watch.keep_best true")
        if self.profile is not None and not self.profiled:
            raise ConfigError(
                f"loop.watch.profile is START:STOP with START before STOP, such as 20:25, not {self.profile}"
            )

    @property
    def profiled(self) -> range:
        """Optimizer steps to profile, counted from 0; empty: none."""
        given = re.fullmatch(r"(\d+):(\d+)", self.profile or "")
        return range(int(given[1]), int(given[2])) if given else range(0)

    @property
    def needs_validation(self) -> bool:
        """Whether some switch goes by a validation metric."""
        return self.keep_best or self.early_stopping > 0
