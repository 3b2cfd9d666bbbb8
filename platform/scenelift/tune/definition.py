"""What a sweep is: the settings that are searched, and the task that is trained with each."""

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
    """Where the `Task` is that trains a trial, as MODULE:CLASS; imported when the search begins."""
    presets: Mapping[str, Any]
    """Of the trainable."""
    space: Draw
    """The preset's config -> what is searched."""
    shared: Callable[[Any, Space], int] = lambda config, space: 0
    """(config, what is searched) -> in how many of their first epochs all trials are the same: those are trained
    once, and every trial begins after them."""
    preset: str | None = None
    """Default preset; none: the trainable's first."""
    settings: SweepConfig = SweepConfig()
    """What holds unless the command line says otherwise."""

    @property
    def trainable(self) -> str:
        """What trains the trials, as in `python -m TRAINABLE`."""
        return self.task.partition(":")[0].removesuffix(".task")

    def load(self) -> type[Task[Any]]:
        """The task's class."""
        module, _, name = self.task.partition(":")
        found: type[Task[Any]] = getattr(import_module(module), name)
        return found

    def train(self, config: Any, observe: Observe) -> None:
        """One run of the task; observe: takes what it reports at the end of epochs."""
        self.load()(config).run(observe)

    def named_presets(self) -> dict[str, Any]:
        """The presets, the default one first."""
        first = self.preset or next(iter(self.presets))
        return {first: self.presets[first], **self.presets}
