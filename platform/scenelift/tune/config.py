"""The definition of a sweep: its search space, the task of its trials, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from scenelift.config.constraints import NonNegativeInt, PositiveInt, Seed, Settings
from scenelift.errors import ConfigError
from scenelift.runs.config import RunName

if TYPE_CHECKING:
    from scenelift.runs.experiment import Observe
    from scenelift.runs.task import Task
    from scenelift.tune.space import Draw, Space


@dataclass(frozen=True)
class SweepConfig(Settings):
    """How a sweep searches. Everything else on the command line is the trainable's and is the same in all
    trials; what is given there is not searched."""

    trials: PositiveInt = 16
    """Trials in all; the first has the preset's own values."""
    search: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    """`tpe`: Optuna's estimator, which learns from trials; `random`; `grid`: every combination of listed values;
    `pbt`: population based training, in which bad trials copy weights and settings of good ones during training."""
    objective: str | None = None
    """Metric to maximize on training scenes that are held out, one of the trainable's objectives; none: its
    first. The test scenes are never read."""
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
    name: RunName | None = None
    """Name of the sweep and of its folder; none: name of the search, and the time."""
    resume: str | None = None
    """Name of an interrupted sweep to continue, with all of its settings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.search == "pbt" and self.trials < 4:
            raise ConfigError(f"pbt needs a population of 4 trials or more, not {self.trials}")


@dataclass(frozen=True)
class Sweep:
    """A search over a trainable's settings."""

    name: str
    """As in `python -m sweeps.NAME`."""
    task: str
    """The `Task` that trains a trial, as MODULE:CLASS; imported when the search begins."""
    presets: Mapping[str, Any]
    """Presets of the trainable."""
    space: Draw
    """The config -> search space."""
    shared: Callable[[Any, Space], int] = lambda config, space: 0
    """(config, search space) -> number of first epochs that are trained once, for all trials."""
    preset: str | None = None
    """Default preset; none: the trainable's first."""
    settings: SweepConfig = SweepConfig()
    """Defaults of the sweep's own options."""

    @property
    def trainable(self) -> str:
        """The trainable, as in `python -m TRAINABLE`."""
        return self.task.partition(":")[0].removesuffix(".task")

    def load(self) -> type[Task[Any]]:
        """The task's class."""
        module, _, name = self.task.partition(":")
        found: type[Task[Any]] = getattr(import_module(module), name)
        return found

    def train(self, config: Any, observe: Observe) -> None:
        """One run of the task; observe: takes its metrics at the end of an epoch."""
        task = self.load()(config)
        from scenelift.runs.run import run  # once the data is accepted

        run(task, observe)

    def named_presets(self) -> dict[str, Any]:
        """The presets, the default one first."""
        first = self.preset or next(iter(self.presets))
        return {first: self.presets[first], **self.presets}
