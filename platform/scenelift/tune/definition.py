"""The definition of a sweep: its search space, and the task that trains a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from scenelift.tune.config import SweepConfig

if TYPE_CHECKING:
    from scenelift.runs.monitor import Observe
    from scenelift.runs.task import Task
    from scenelift.tune.space import Draw, Space


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
    """(config, search space) -> number of first epochs that are the same in all trials: these are trained once,
    and every trial begins after them."""
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
