"""Running a sweep: Ray Tune tries settings; the MLflow runs of trials are children of that of the sweep."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ray import tune

from scenelift.cluster import resources
from scenelift.config import build as configuration
from scenelift.config import files
from scenelift.config.build import nearest
from scenelift.config.files import dump
from scenelift.errors import ClusterError, ConfigError, TrainingError
from scenelift.io import storage
from scenelift.io.console import say
from scenelift.runs.folder import Run
from scenelift.runs.task import trial_config
from scenelift.tracking import store
from scenelift.tracking.client import Tracker
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import ScaleConfig
from scenelift.tune import results
from scenelift.tune.progress import SearchProgress
from scenelift.tune.search import Choice, check_population
from scenelift.tune.space import Space, baseline_values, describe
from scenelift.tune.trial import Trials, milestone, run_trial, short, title

if TYPE_CHECKING:
    from scenelift.tune.config import Sweep, SweepConfig

STATE = "sweep.yaml"
"""In a sweep's folder: what --resume needs."""
VERSION = 1
MIGRATIONS: files.Migrations = {}


def read_state(path: Path) -> dict[str, Any]:
    """A sweep's `STATE`. Raises ConfigError for one of another schema version, or that is damaged."""
    fields = {
        "name": str,
        "sweep": dict,
        "config": dict,
        "given": list,
        "max_concurrent": int,
        "mlflow_run": str,
    }
    advice = "the sweep cannot be gone on with; begin another"
    return files.read(path, fields, VERSION, MIGRATIONS, ConfigError, advice, "YAML")


def place(scale: ScaleConfig, trials: int, wanted: int | None) -> tuple[int, ScaleConfig, str]:
    """How many trials fit at the same time, the resources of their workers, and the reason in words.
    ClusterError if none fits, or fewer than `wanted`: trials whose data loaders have no CPU would wait forever."""
    scale = scale.on(resources.total("GPU"))
    gpus = scale.gpus or 0.0
    workers, most = scale.max_workers, wanted or trials
    most, cpus = resources.side_by_side(workers, scale.cpus, gpus, scale.data_cpus, most)
    each = f"{workers} x {cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
    each += f" to train and {scale.data_cpus:g} CPU for the data loader"
    available = " and ".join(f"{resources.total(kind):g} {kind}" for kind in ("CPU", "GPU")[: 1 + bool(gpus)])
    if not most:
        raise ClusterError(f"no trial fits: each needs {each}, Ray has {available}; lower scale.workers")
    if wanted is not None and most < wanted:
        raise ClusterError(f"{most} trials fit at once, not {wanted}: each needs {each}, Ray has {available}")
    counted = "one trial at a time" if most == 1 else f"{most} trials at once"
    return most, replace(scale, cpus=cpus, gpus=gpus), f"{counted}: each needs {each}, Ray has {available}"


class SweepRun:
    """One sweep, from its checks to its best config."""

    def __init__(
        self, sweep: Sweep, settings: SweepConfig, config: Any, space: Space, given: tuple[str, ...]
    ) -> None:
        self.sweep, self.settings, self.config, self.space, self.given = sweep, settings, config, space, given
        self.baseline = baseline_values(space, config)
        self.name = settings.resume or settings.name or f"{sweep.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        if "://" in config.run.storage:
            raise ConfigError(
                f"a sweep keeps its trials in a folder that all machines share, not in {config.run.storage}; "
                "set run.storage to one"
            )
        self.folder = (Path(config.run.storage) / self.name).resolve()
        if settings.resume is None and self.folder.exists():
            raise ConfigError(f"{self.folder} exists; give --resume {self.name}, or another --name")
        self.task = sweep.load()
        objectives = self.task.objectives
        self.objective = settings.objective or next(iter(objectives))
        if self.objective not in objectives:
            hint = nearest(self.objective, objectives)
            raise ConfigError(f"{self.task.command} has no objective {self.objective}; {hint}")
        trial = trial_config(self.task, config, settings.holdout_every, self.objective)
        if settings.search == "pbt":
            check_population(space, trial.loop.epochs)
        self.max_concurrent, scale, self.reason = place(trial.scale, settings.trials, settings.max_concurrent)
        self.choice = Choice(settings, self.objective, self.max_concurrent)
        loop = replace(trial.loop, checkpoint_every=0) if settings.search == "pbt" else trial.loop
        uri = store.resolve(trial.tracking.uri, self.folder.parent)
        local = uri if uri.startswith("sqlite:") else trial.tracking.uri
        tracking = replace(trial.tracking, uri=local, experiment=f"sweep-{sweep.name}")
        self.trial = replace(trial, scale=scale, loop=loop, tracking=tracking)
        """The config of trials without the values that are searched."""
        self.shared = sweep.shared(trial, space)

    def run(self) -> Path:
        """Search, print and save the results, and return the sweep's folder. One process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = Run(self.folder)
        lock.lock()
        try:
            return self._search()
        finally:
            lock.release()

    def _search(self) -> Path:
        self._announce()
        tracker = self._begin()
        trials = Trials(
            train=self.sweep.train,
            config=self.trial,
            folder=self.folder / "trials",
            parent=tracker.info["run_id"],
            objective=self.objective,
            exchange=self.settings.search == "pbt",
            shared=self.shared,
        )
        count = self.choice.count(self.space)
        progress = SearchProgress(tracker, trials, count, self.max_concurrent, self.baseline)
        try:
            if trials.shared and trials.beginning.status != "finished":
                trials.train_beginning()
            self._tuner(trials, progress).fit()  # returns when it is interrupted
            if progress.interrupted():
                raise KeyboardInterrupt
            self._show(progress, tracker)
        except BaseException as error:
            tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            if isinstance(error, KeyboardInterrupt):
                command = f"python -m sweeps.{self.sweep.name} --resume {self.name}"
                raise type(error)(f"interrupted; continue with: {command}") from None
            raise
        tracker.finish("FINISHED")
        return self.folder

    def _announce(self) -> None:
        trials, trainable = self.choice.count(self.space), self.sweep.trainable
        say(f"sweep {self.name}: {trials} trials of {trainable} by {self.settings.search}")
        for key, domain in self.space.items():
            say(f"  {key:<34}{describe(domain)}   (preset: {short(self.baseline[key])})")
        say(f"  maximizing {self.objective} on one training scene of {self.settings.holdout_every}")
        say(f"  {self.reason}")
        if self.shared:
            say(
                f"  the first {self.shared} of {self.trial.loop.epochs} epochs are the same in all trials: "
                "they are trained once"
            )
        if not self.choice.tries(self.baseline, self.space):
            say("  the preset's own values are outside the space and not among the trials")
        if self.settings.search == "grid":
            say("  a grid tries every combination; --trials and --seed have no effect")

    def _begin(self) -> Tracker:
        """The sweep's folder and its MLflow run, new or continued."""
        state = self.folder / STATE
        before = read_state(state) if state.exists() else {}
        if before.get("max_concurrent", 0) > self.max_concurrent:
            raise ClusterError(
                f"{self.name} began with {before['max_concurrent']} trials at once, but here "
                f"{self.max_concurrent} fit; continue it on a machine or cluster as large as the first"
            )
        settings = replace(self.settings, resume=None)
        experiment = f"sweep-{self.sweep.name}"
        tracking = TrackingConfig(self.config.tracking.uri, experiment, system_metrics=0)
        parameters = {f"sweep.{key}": value for key, value in configuration.flatten(settings).items()}
        parameters |= {f"space.{key}": describe(domain) for key, domain in self.space.items()}
        tags = {"trainable": self.task.command, "sweep": self.sweep.name}
        run_id = before.get("mlflow_run")
        tracker = Tracker.start(tracking, self.folder.parent, self.name, parameters, tags, run_id)
        values = {
            "name": self.sweep.name,
            "sweep": configuration.to_dict(settings),
            "config": configuration.to_dict(self.config),
            "given": list(self.given),
            "max_concurrent": before.get("max_concurrent", self.max_concurrent),
            "mlflow_run": tracker.info["run_id"],
        }
        storage.write_text(state, yaml.safe_dump(files.stamp(values, VERSION), sort_keys=False))
        return tracker

    def _tuner(self, trials: Trials, progress: SearchProgress) -> tune.Tuner:
        # It would print tracebacks, which the trials' folders have.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", message="Consider boosting PBT")
        first = milestone(100 * self.shared / self.trial.loop.epochs) + 1
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
                search_alg=self.choice.algorithm(self.baseline, self.space),
                scheduler=self.choice.scheduler(self.space, first),
                reuse_actors=True,  # starting a process and loading torch takes seconds
            ),
            run_config=run,
        )

    def _show(self, progress: SearchProgress, tracker: Tracker) -> None:
        objective, outcomes = self.objective, progress.outcomes()
        table = results.text(outcomes, objective)
        print(f"\n{table}\n")
        tracker.tags({"mlflow.note.content": f"```\n{table}\n```"})  # shown first on the run's page
        best = results.ranked(outcomes, objective)[0]
        if best.status != "finished" or objective not in best.metrics:
            error = next((outcome.error for outcome in outcomes if outcome.error), "-")
            raise TrainingError(f"no trial of {self.name} finished; the first error: {error}")
        finished = [outcome for outcome in outcomes if outcome.status == "finished"]
        scored = [(outcome.values, outcome.metrics[objective]) for outcome in finished]
        baseline = next((number for number, outcome in enumerate(finished) if outcome.baseline), None)
        shares = results.importance(self.space, scored)
        pictures = self.folder / "pictures"
        pictures.mkdir(exist_ok=True)
        results.pictures(pictures, self.space, scored, objective, shares, baseline)
        replay = self.folder / "best.yaml"
        storage.write_text(replay, dump(configuration.override(self.config, dict(best.values))))
        tracker.metrics({f"best/{name}": value for name, value in best.metrics.items()}, best.epoch)
        tracker.artifact(replay)
        tracker.artifact(pictures, "pictures")
        gain = results.gain(outcomes, objective)
        print(f"best: {title(best.values)}: {objective} {best.metrics[objective]:.3f}{gain}")
        if shares:
            text = ", ".join(f"{key} {100 * share:.0f} %" for key, share in shares.items())
            print(f"importance, in {len(finished)} finished trials: {text}")
        print(f"Replay: python -m {self.sweep.trainable} --config {replay}")
        print(f"Result: {self.folder}")
