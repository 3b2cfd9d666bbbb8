"""Drawing and early stopping of trials: Optuna, grids, and populations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
import ray
from optuna.distributions import CategoricalDistribution
from optuna.samplers import RandomSampler, TPESampler
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain

from scenelift.cluster import ray_internals, resources
from scenelift.errors import ClusterError, ConfigError
from scenelift.tune import results
from scenelift.tune.space import Distribution, Space, holds, tune_domain
from scenelift.tune.trial import GRACE

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

    from scenelift.tune.config import SweepConfig

LENGTHS = {"loop.epochs", "min_steps"}
"""Keys that set the length of a training."""


@dataclass(frozen=True)
class Choice:
    """The method of search, and whether bad trials are stopped early."""

    settings: SweepConfig
    objective: str
    """Metric that is maximized."""
    max_concurrent: int

    def count(self, space: Space) -> int:
        """Number of trials."""
        if self.settings.search != "grid":
            return self.settings.trials
        return math.prod(len(values) for values in _lists(space).values())

    def parameters(self, space: Space) -> dict[str, Any]:
        """The space for Tune; empty if Optuna draws from it."""
        if self.settings.search == "grid":
            return {key: tune.grid_search(values) for key, values in _lists(space).items()}
        if self.settings.search == "pbt":
            return {key: tune_domain(distribution) for key, distribution in space.items()}
        return {}

    def resources(self) -> dict[str, float]:
        """Resources of a trial's process, which waits for its training; that has resources of its own."""
        if self.settings.search != "pbt":
            return {"CPU": 0.01}
        if not ray.cluster_resources().get(resources.SWEEP):
            raise ClusterError(
                "a population needs a cluster whose head was started with "
                f"--resources '{{\"{resources.SWEEP}\": 1}}', so that its trials can take turns"
            )
        # No CPU: a cluster's head may have none.
        return {resources.SWEEP: math.floor(1e4 / self.max_concurrent) / 1e4}

    def tries(self, baseline: Mapping[str, Any], space: Space) -> bool:
        """Whether the baseline is one of the trials, inside the space or not."""
        return self.settings.search in ("tpe", "random") or holds(space, baseline)

    def algorithm(self, baseline: Mapping[str, Any], space: Space) -> SearchAlgorithm | Searcher:
        """The search algorithm. The baseline is its first trial, except in a grid."""
        if self.settings.search == "grid":
            return BasicVariantGenerator(max_concurrent=self.max_concurrent, random_state=self.settings.seed)
        if self.settings.search == "pbt":
            # All trials of a population are created at once, and pause in turn.
            first = [dict(baseline)] if holds(space, baseline) else []
            return BasicVariantGenerator(points_to_evaluate=first, random_state=self.settings.seed)
        results.silence()
        sampler: optuna.samplers.BaseSampler = RandomSampler(seed=self.settings.seed)
        if self.settings.search == "tpe":
            # It learns from trials after a quarter of them.
            startup = max(4, self.settings.trials // 4)
            sampler = TPESampler(seed=self.settings.seed, n_startup_trials=startup, multivariate=True)
        searcher = BaselineFirst(baseline, space, self.objective, sampler)
        return ConcurrencyLimiter(searcher, self.max_concurrent)

    def scheduler(self, space: Space, first: int) -> TrialScheduler:
        """The scheduler, which stops trials or copies weights; first: the earliest milestone that they report."""
        if self.settings.search == "pbt":
            return Population(space, self.objective, first)
        if not self.settings.early_stopping:
            return FIFOScheduler()
        return ASHAScheduler(
            time_attr="percent",
            metric=self.objective,
            mode="max",
            max_t=99,  # with the next line: compared at 25 and 50 percent, never stopped at the end
            stop_last_trials=False,
            grace_period=GRACE,
            reduction_factor=2,
        )


def _lists(space: Space) -> dict[str, list[Any]]:
    """The values of a grid; ConfigError if the space has ranges, which cannot be enumerated."""
    lists = {key: list(d.choices) for key, d in space.items() if isinstance(d, CategoricalDistribution)}
    if len(lists) < len(space):
        raise ConfigError(
            f"a grid needs lists of values, and {', '.join(k for k in space if k not in lists)} are ranges: "
            "search with tpe or random, or write CategoricalDistribution([...]) in the sweep's file"
        )
    return lists


class BaselineFirst(OptunaSearch):
    """Tries the baseline before anything is drawn. If it is outside the space, Optuna never sees that trial."""

    def __init__(
        self, baseline: Mapping[str, Any], space: Space, objective: str, sampler: optuna.samplers.BaseSampler
    ) -> None:
        inside = holds(space, baseline)
        first = [dict(baseline)] if inside else None
        super().__init__(dict(space), objective, "max", points_to_evaluate=first, sampler=sampler)
        self._baseline = None if inside else dict(baseline)
        self._first: str | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self._baseline is None or self._first not in (None, trial_id):
            return super().suggest(trial_id)
        self._first = trial_id
        return dict(self._baseline)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id != self._first:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        if trial_id != self._first:
            super().on_trial_complete(trial_id, result, error)


class Population(PopulationBasedTraining):
    """Population based training: at each milestone, trials wait for each other, and the worst copy the best."""

    def __init__(self, space: Space, objective: str, first: int) -> None:
        """first: the earliest milestone that trials report, after the epochs that all share."""
        super().__init__(
            time_attr="milestone",
            metric=objective,
            mode="max",
            perturbation_interval=1,
            burn_in_period=first,
            hyperparam_mutations={key: _mutation(distribution) for key, distribution in space.items()},
            custom_explore_fn=partial(_clipped, space),
            quantile_fraction=0.25,
            synch=True,
        )

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """The next action of the trial. Tune would also wait for trials that have failed."""
        for failed in (other for other in tune_controller.get_trials() if other.is_finished()):
            ray_internals.count_as_arrived(self, failed, result["milestone"])
        return str(super().on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The next trial. If all of them wait, the last one has failed: the others continue without an exchange."""
        left = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        waiting = (trial.status == Trial.PAUSED and ray_internals.arrived(self, trial) for trial in left)
        if left and all(waiting):
            ray_internals.pass_milestone(self)
        return super().choose_trial_to_run(tune_controller)


def _mutation(distribution: Distribution) -> Domain | list[Any]:
    """A list, of which Tune takes a neighbor, for a `tune.choice`: its values Tune would multiply, even strings."""
    listed = isinstance(distribution, CategoricalDistribution)
    return list(distribution.choices) if listed else tune_domain(distribution)


def _clipped(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """The values, clipped to their ranges: Tune multiplies what it copies."""
    ranges = {key: d for key, d in space.items() if not isinstance(d, CategoricalDistribution)}
    return {**values, **{key: min(max(values[key], d.low), d.high) for key, d in ranges.items()}}


def check_population(space: Space, epochs: int) -> None:
    """ConfigError if trials cannot copy each other's weights during training."""
    for key in LENGTHS & space.keys():
        raise ConfigError(
            f"a population cannot vary {key}, since trainings must have one length; give it as an option, --{key} N"
        )
    if epochs < 4:
        raise ConfigError(f"pbt copies weights every quarter: loop.epochs must be 4 or more, not {epochs}")
