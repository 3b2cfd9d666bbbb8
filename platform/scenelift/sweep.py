"""A search over a trainable's settings with Ray Tune: one MLflow run above, an ordinary run below for each trial.

`runs/<sweep>/` holds the trials' run folders, the ranking, the best config as a file to replay, and pictures.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import yaml
from ray import tune

from scenelift import cluster, ranking, search, tracking_store
from scenelift import config as configuration
from scenelift.console import say
from scenelift.errors import ConfigError, SceneliftError, TrainingError
from scenelift.search import Choice, Draw, Placement, Space
from scenelift.sweep_progress import Progress
from scenelift.tracking import Tracker, TrackingConfig
from scenelift.trial import Trials, run_trial, title

_STATE = "sweep.yaml"


@dataclass(frozen=True)
class SweepConfig:
    """How a sweep searches. Everything else on the command line is the trainable's and is the same in all trials;
    what is given there is not searched."""

    trials: int = 16
    """Trials in all; the first has the preset's own values."""
    search: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    """`tpe`: Optuna's estimator, which learns from trials; `random`; `grid`: every combination of listed values;
    `pbt`: population based training, in which bad trials take over good ones' weights and settings on the way."""
    objective: Literal["validation/miou", "validation/agreement"] = "validation/miou"
    """What is maximised, on training scenes that are held out: mIoU, or, where there are no labels at all, how
    well a student's labels of the same voxels agree between sweeps. The test scenes are never looked at."""
    stop_early: bool = True
    """Give up trials that are worse than half of the others after a quarter, or a half, of the training (ASHA)."""
    held_out: int = 5
    """One training scene of so many is held out."""
    concurrent: int | None = None
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
        for name in ("trials", "retries", "held_out"):
            if getattr(self, name) < (0 if name == "retries" else 1):
                raise ConfigError(f"--{name} {getattr(self, name)} is too few")
        if self.search == "pbt" and self.trials < 4:
            raise ConfigError(f"pbt needs a population of 4 trials or more, not {self.trials}")


class Trainable(Protocol):
    """A module of `trainables` whose runs can be searched."""

    PRESETS: dict[str, Any]

    @staticmethod
    def run(config: Any) -> None: ...


@dataclass(frozen=True)
class Sweep:
    """A search: what is tried, on what, and the command that runs it."""

    name: str
    """As in `python -m sweeps.NAME`."""
    trainable: Any
    """The module, a `Trainable`."""
    space: Draw
    """The preset's config -> what is searched."""
    selecting: Callable[[Any, int], Any]
    """(config, one scene of so many) -> the config that holds scenes out and leaves the test scenes alone."""
    preset: str | None = None
    """Default preset; none: the trainable's first."""

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
                SweepConfig(), f"{prog} [PRESET] [--group.field VALUE ...]", self._help(presets)
            )
        own, rest = configuration.divide(argv, mine)
        settings = configuration.parse(SweepConfig, {"": SweepConfig()}, own, prog)
        if settings.resume is not None:
            if rest or len(own) > 2:
                raise ConfigError(
                    "--resume NAME takes no other options: the sweep goes on with what it began with"
                )
            return self._resumed(settings.resume)
        config = configuration.parse(type(next(iter(presets.values()))), presets, rest, prog)
        return settings, config, configuration.given(rest)

    def _presets(self) -> dict[str, Any]:
        presets = cast(Trainable, self.trainable).PRESETS
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
        known = [folder / _STATE for folder in (Path(storage) / name, Path(name))]
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
        space = {key: domain for key, domain in self.space(config).items() if key not in given}
        if not space:
            raise ConfigError("everything that this sweep searches was given as an option; nothing is left")
        space = search.checked(space, config)
        with cluster.connect(dashboard=True):
            return _Search(self, settings, config, space, tuple(given)).run()


class _Search:
    """One sweep that is running."""

    def __init__(
        self, sweep: Sweep, settings: SweepConfig, config: Any, space: Space, given: tuple[str, ...]
    ) -> None:
        self.sweep, self.settings, self.config, self.space, self.given = sweep, settings, config, space, given
        self.own = search.own_values(space, config)
        self.name = settings.resume or settings.name or f"{sweep.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self.folder = (Path(config.run.storage) / self.name).resolve()
        if settings.resume is None and self.folder.exists():
            raise ConfigError(
                f"{self.folder} exists; go on with it by --resume {self.name}, or give another --name"
            )
        trial = sweep.selecting(config, settings.held_out)
        if settings.search == "pbt" and trial.loop.epochs < 4:
            raise ConfigError(
                f"pbt exchanges weights after each quarter: loop.epochs is 4 or more, not {trial.loop.epochs}"
            )
        self.placement = Placement.fit(trial.scale, settings.trials, settings.concurrent)
        self.choice = Choice(
            method=settings.search,
            objective=settings.objective,
            trials=settings.trials,
            seed=settings.seed,
            at_once=self.placement.at_once,
            stop_early=settings.stop_early,
        )
        self.trial = self._prepared(trial)

    def _prepared(self, trial: Any) -> Any:
        """The trials' config but for what is searched."""
        loop = replace(trial.loop, checkpoint_every=0) if self.settings.search == "pbt" else trial.loop
        uri = tracking_store.resolve(trial.tracking.uri, self.folder.parent)
        local = uri if uri.startswith("sqlite:") else trial.tracking.uri
        tracking = replace(trial.tracking, uri=local, experiment=f"sweep-{self.sweep.name}")
        return replace(trial, scale=self.placement.scale, loop=loop, tracking=tracking)

    def run(self) -> Path:
        self._announce()
        tracker = self._begin()
        trials = Trials(
            train=self.sweep.trainable.run,
            config=self.trial,
            folder=self.folder / "trials",
            parent=tracker.info["run_id"],
            objective=self.settings.objective,
            exchange=self.settings.search == "pbt",
        )
        progress = Progress(
            tracker, trials, self.choice.count(self.space), self.placement.at_once, self.own, self.folder
        )
        try:
            self._tuner(trials, progress).fit()  # Tune ends well when it is interrupted
            if progress.interrupted():
                raise KeyboardInterrupt
            self._show(progress, tracker)
        except BaseException as error:
            tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            if isinstance(error, KeyboardInterrupt):
                say(f"interrupted; go on with: python -m sweeps.{self.sweep.name} --resume {self.name}")
            raise
        tracker.finish("FINISHED")
        return self.folder

    def _announce(self) -> None:
        of = self.sweep.trainable.__name__
        say(f"sweep {self.name}: {self.choice.count(self.space)} trials of {of} by {self.settings.search}")
        for key, domain in self.space.items():
            own = "" if self.own is None else f"   (preset: {title({key: self.own[key]}).rpartition(' ')[2]})"
            say(f"  {key:<34}{search.describe(domain)}{own}")
        say(f"  maximising {self.settings.objective} on one training scene of {self.settings.held_out}")
        say(f"  {self.placement.reason}")
        if self.own is None:
            say("  the preset's own values lie outside of the space and are not among the trials")
        if self.settings.search == "grid":
            say("  a grid tries every combination: --trials, --stop_early and --seed do not change which")

    def _begin(self) -> Tracker:
        """The sweep's folder and its MLflow run, new or continued."""
        state = self.folder / _STATE
        run_id = yaml.safe_load(state.read_text())["mlflow_run"] if state.exists() else None
        self.folder.mkdir(parents=True, exist_ok=True)
        experiment = f"sweep-{self.sweep.name}"
        tracking = TrackingConfig(self.config.tracking.uri, experiment, system_metrics=0)
        parameters = {f"sweep.{key}": value for key, value in configuration.flatten(self.settings).items()}
        parameters |= {f"space.{key}": search.describe(domain) for key, domain in self.space.items()}
        tags = {"trainable": self.sweep.trainable.__name__.rpartition(".")[2], "sweep": self.sweep.name}
        tracker = Tracker.start(tracking, self.folder.parent, self.name, parameters, tags, run_id)
        state.write_text(
            yaml.safe_dump(
                {
                    "name": self.sweep.name,
                    "sweep": configuration.to_dict(self.settings),
                    "config": configuration.to_dict(self.config),
                    "given": list(self.given),
                    "mlflow_run": tracker.info["run_id"],
                },
                sort_keys=False,
            )
        )
        return tracker

    def _tuner(self, trials: Trials, progress: Progress) -> tune.Tuner:
        logging.getLogger("ray.tune").setLevel(
            logging.CRITICAL
        )  # tracebacks of trials: ours are in their folders
        trainable = tune.with_parameters(run_trial, trials=trials)
        trainable = tune.with_resources(trainable, self.choice.resources())
        run = tune.RunConfig(
            name="tune",
            storage_path=str(self.folder),
            failure_config=tune.FailureConfig(max_failures=self.settings.retries),
            callbacks=[progress],
            verbose=0,
        )
        if self.settings.resume is not None and tune.Tuner.can_restore(str(self.folder / "tune")):
            return tune.Tuner.restore(str(self.folder / "tune"), trainable, resume_unfinished=True)
        return tune.Tuner(
            trainable,
            param_space=self.choice.parameters(self.space),
            tune_config=tune.TuneConfig(
                num_samples=1 if self.settings.search == "grid" else self.settings.trials,
                search_alg=self.choice.algorithm(self.own),
                scheduler=self.choice.scheduler(self.space),
                reuse_actors=False,
            ),
            run_config=run,
        )

    def _show(self, progress: Progress, tracker: Tracker) -> None:
        """Ranking, pictures and best config: in the folder, in MLflow, on the screen."""
        objective, outcomes = self.settings.objective, progress.outcomes()
        print(f"\n{ranking.text(outcomes, objective)}\n")
        best = ranking.ranked(outcomes, objective)[0]
        if best.status != "finished" or best.value(objective) is None:
            errors = [outcome.error for outcome in outcomes if outcome.error]
            raise TrainingError(
                f"no trial of {self.name} finished; the first error: {errors[0] if errors else '-'}"
            )
        told = [(dict(o.values), o.metrics[objective]) for o in outcomes if o.status == "finished"]
        shares = search.importance(self.space, told)
        pictures = self.folder / "pictures"
        pictures.mkdir(exist_ok=True)
        ranking.parallel_coordinates(pictures / "parallel_coordinates.png", outcomes, self.space, objective)
        ranking.slices(pictures / "slices.png", outcomes, self.space, objective, shares)
        replay = self.folder / "best.yaml"
        replay.write_text(configuration.dump(configuration.override(self.config, dict(best.values))))
        tracker.metrics({f"best/{name}": value for name, value in best.metrics.items()}, best.epoch)
        tracker.artifact(replay)
        tracker.artifact(pictures, "pictures")
        own = next((o.value(objective) for o in outcomes if o.own and o.status == "finished"), None)
        gain = "" if own is None else f", {best.metrics[objective] - own:+.3f} to the preset's own values"
        print(f"best: {title(best.values)}: {objective} {best.metrics[objective]:.3f}{gain}")
        if shares:
            print("importance: " + ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares.items()))
        print(f"Replay: python -m {self.sweep.trainable.__name__} --config {replay}")
        print(f"Result: {self.folder}")
