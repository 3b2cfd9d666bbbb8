"""A search over a trainable's settings with Ray Tune: one MLflow run above, an ordinary run below for each trial.

`runs/<sweep>/` holds the trials' run folders, the ranking, the best config as a file to replay, and pictures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from scenelift.cluster import connect as cluster
from scenelift.config import build as configuration
from scenelift.errors import ConfigError, SceneliftError
from scenelift.tune import search as search
from scenelift.tune.search import Draw, Space
from scenelift.tune.sweep_run import STATE, SweepRun, read_state


@dataclass(frozen=True)
class SweepConfig:
    """How a sweep searches. Everything else on the command line is the trainable's and is the same in all trials;
    what is given there is not searched."""

    trials: int = 16
    """Trials in all; the first has the preset's own values."""
    search: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    """`tpe`: Optuna's estimator, which learns from trials; `random`; `grid`: every combination of listed values;
    `pbt`: population based training, in which bad trials take over good ones' weights and settings on the way."""
    objective: Literal[
        "validation/miou",
        "validation/agreement",
        "validation/acc25",
        "validation/accuracy",
        "validation/r1",
    ] = "validation/miou"
    """What is maximized, on training scenes that are held out: mIoU; where there are no labels at all, how well a
    student's labels of the same voxels agree between sweeps; of grounding, the share of sentences whose object is
    found, by overlap or among true instances; of phrases, the share whose first region is right. The test scenes
    are never looked at."""
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


class Trainable(Protocol):
    """A module of `trainables` whose runs can be searched."""

    __name__: str
    PRESETS: dict[str, Any]

    def run(self, config: Any, /) -> None: ...


@dataclass(frozen=True)
class Sweep:
    """A search: what is tried, on what, and the command that runs it."""

    name: str
    """As in `python -m sweeps.NAME`."""
    trainable: Trainable
    """The module."""
    space: Draw
    """The preset's config -> what is searched."""
    selecting: Callable[[Any, int, str], Any]
    """(config, one scene of so many, objective) -> the config that holds scenes out and leaves the test scenes
    alone; an error where the objective cannot be measured on them."""
    shared: Callable[[Any, Space], int] = lambda config, space: 0
    """(config, what is searched) -> in how many of their first epochs all trials are the same: those are trained
    once, and every trial begins after them."""
    preset: str | None = None
    """Default preset; none: the trainable's first."""
    settings: SweepConfig = SweepConfig()
    """What holds unless the command line says otherwise."""

    def main(self) -> None:
        """The whole command."""
        try:
            self.run(*self.parse(sys.argv[1:]))
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
            configuration.show_help(
                self.settings, f"{prog} [PRESET] [--group.field VALUE ...]", self._help(presets)
            )
        baseline, rest = configuration.divide(argv, mine)
        settings = configuration.parse(SweepConfig, {"": self.settings}, baseline, prog)
        if settings.resume is not None:
            if rest or len(baseline) > 2:
                raise ConfigError(
                    "--resume NAME takes no other options: the sweep goes on with what it began with"
                )
            return self._resumed(settings.resume)
        config = configuration.parse(type(next(iter(presets.values()))), presets, rest, prog)
        return settings, config, configuration.given(rest)

    def _presets(self) -> dict[str, Any]:
        presets = self.trainable.PRESETS
        first = self.preset or next(iter(presets))
        return {first: presets[first]} | presets

    def _help(self, presets: dict[str, Any]) -> str:
        searched = self.space(next(iter(presets.values())))
        lines = [f"  {key:<32}{search.describe(domain)}" for key, domain in searched.items()]
        options = "\n".join(lines)
        return (
            f"Searches in settings of {self.trainable.__name__}:\n{options}\n\nPresets: {', '.join(presets)}. "
            f"Options of {self.trainable.__name__} may be given too; they hold for all trials."
        )

    def _resumed(self, name: str) -> tuple[SweepConfig, Any, tuple[str, ...]]:
        presets = self._presets()
        storage = next(iter(presets.values())).run.storage
        known = [folder / STATE for folder in (Path(storage) / name, Path(name))]
        path = next((path for path in known if path.exists()), None)
        if path is None:
            raise ConfigError(
                f"no sweep {name} under {storage} to go on with; --resume takes its name or folder"
            )
        saved = read_state(path)
        if saved["name"] != self.name:
            raise ConfigError(f"{name} is a sweep of sweeps.{saved['name']}, not of sweeps.{self.name}")
        settings = configuration.from_dict(SweepConfig, saved["sweep"])
        config = configuration.from_dict(type(next(iter(presets.values()))), saved["config"])
        return replace(settings, resume=path.parent.name), config, tuple(saved["given"])

    def run(self, settings: SweepConfig, config: Any, given: Sequence[str] = ()) -> Path:
        """Search, and return the sweep's folder. TrainingError if not one trial finished."""
        space = {key: domain for key, domain in self.space(config).items() if key not in given}
        if not space:
            raise ConfigError("everything that this sweep searches was given as an option; nothing is left")
        space = search.checked(space, config)
        with cluster.connect(dashboard=True):
            return SweepRun(self, settings, config, space, tuple(given)).run()
