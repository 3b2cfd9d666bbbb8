"""A search over a trainable's settings with Ray Tune: one MLflow run above, an ordinary run below for each trial.

`runs/<sweep>/` holds the trials' run folders, the ranking, the best config as a file to replay, and pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scenelift.config import build as configuration
from scenelift.config import cli
from scenelift.errors import ConfigError, SceneliftError
from scenelift.tune.config import SweepConfig

if TYPE_CHECKING:
    from scenelift.runs.monitor import Observe
    from scenelift.runs.task import Task
    from scenelift.tune.space import Draw, Space


@dataclass(frozen=True)
class Sweep:
    """A search: what is tried, on what, and the command that runs it."""

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
        from scenelift.runs.run import run  # torch, which a mistyped option can spare

        run(self.load()(config), observe)

    def main(self) -> None:
        """The whole command."""
        try:
            settings, config, given = self.parse(sys.argv[1:])
            config.check_here()
            self.run(settings, config, given)
        except SceneliftError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    def parse(self, argv: Sequence[str]) -> tuple[SweepConfig, Any, tuple[str, ...]]:
        """The sweep's settings, the trainable's config, and which of its keys were given."""
        presets = self._presets()
        prog = f"python -m sweeps.{self.name}"
        mine = {field.name for field in fields(SweepConfig)}
        if "-h" in argv or "--help" in argv:
            cli.show_help(self.settings, f"{prog} [PRESET] [--group.field VALUE ...]", self._help(presets))
        baseline, rest = cli.divide(argv, mine)
        settings = cli.parse({"": self.settings}, baseline, prog)
        if settings.resume is not None:
            if rest or len(baseline) > 2:
                raise ConfigError(
                    "--resume NAME takes no other options: the sweep goes on with what it began with"
                )
            return self._resumed(settings.resume)
        config = cli.parse(presets, rest, prog)
        return settings, config, cli.given(rest)

    def _presets(self) -> dict[str, Any]:
        first = self.preset or next(iter(self.presets))
        return {first: self.presets[first], **self.presets}

    def _help(self, presets: dict[str, Any]) -> str:
        from scenelift.tune.space import describe

        searched = self.space(next(iter(presets.values())))
        lines = [f"  {key:<32}{describe(domain)}" for key, domain in searched.items()]
        options = "\n".join(lines)
        return (
            f"Searches in settings of {self.trainable}:\n{options}\n\nPresets: {', '.join(presets)}. "
            f"Options of {self.trainable} may be given too; they hold for all trials."
        )

    def _resumed(self, name: str) -> tuple[SweepConfig, Any, tuple[str, ...]]:
        from scenelift.tune.sweep_run import STATE

        presets = self._presets()
        storage = next(iter(presets.values())).run.storage
        known = [folder / STATE for folder in (Path(storage) / name, Path(name))]
        path = next((path for path in known if path.exists()), None)
        if path is None:
            raise ConfigError(
                f"no sweep {name} under {storage} to go on with; --resume takes its name or folder"
            )
        saved = yaml.safe_load(path.read_text())
        if saved["name"] != self.name:
            raise ConfigError(f"{name} is a sweep of sweeps.{saved['name']}, not of sweeps.{self.name}")
        settings = configuration.from_dict(SweepConfig, saved["sweep"])
        config = configuration.from_dict(type(next(iter(presets.values()))), saved["config"])
        return replace(settings, resume=path.parent.name), config, tuple(saved["given"])

    def run(self, settings: SweepConfig, config: Any, given: Sequence[str] = ()) -> Path:
        """Search, and return the sweep's folder. TrainingError if not one trial finished."""
        # What it takes to search comes after the command line is understood.
        from scenelift.cluster import connect as cluster
        from scenelift.tune.space import checked
        from scenelift.tune.sweep_run import SweepRun

        space = {key: domain for key, domain in self.space(config).items() if key not in given}
        if not space:
            raise ConfigError("everything that this sweep searches was given as an option; nothing is left")
        space = checked(space, config)
        with cluster.connect(dashboard=True):
            return SweepRun(self, settings, config, space, tuple(given)).run()
