"""How a sweep chooses its trials, and which of them are stopped early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ray
from optuna.distributions import CategoricalDistribution
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher

from scenelift.cluster import resources
from scenelift.errors import ClusterError, ConfigError
from scenelift.tune.optuna_search import BaselineFirst, sampler
from scenelift.tune.population import Population
from scenelift.tune.space import Space, holds, tune_domain
from scenelift.tune.trial import GRACE

Method = Literal["tpe", "random", "grid", "pbt"]


@dataclass(frozen=True)
class Choice:
    """How trials are chosen, and whether bad ones are stopped early."""

    method: Method
    objective: str
    """Metric that is maximized."""
    trials: int
    seed: int
    max_concurrent: int
    early_stopping: bool

    def count(self, space: Space) -> int:
        """How many trials there will be."""
        if self.method != "grid":
            return self.trials
        return math.prod(len(values) for values in _lists(space).values())

    def parameters(self, space: Space) -> dict[str, Any]:
        """The space for Tune; empty if Optuna draws from it."""
        if self.method == "grid":
            return {key: tune.grid_search(values) for key, values in _lists(space).items()}
        if self.method == "pbt":
            return {key: tune_domain(distribution) for key, distribution in space.items()}
        return {}

    def resources(self) -> dict[str, float]:
        """Resources of a trial's process. It waits for its training, which has resources of its own."""
        if self.method != "pbt":
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
        return self.method in ("tpe", "random") or holds(space, baseline)

    def algorithm(self, baseline: Mapping[str, Any], space: Space) -> SearchAlgorithm | Searcher:
        """What draws the trials. The baseline is the first of them, except in a grid."""
        if self.method == "grid":
            return BasicVariantGenerator(max_concurrent=self.max_concurrent, random_state=self.seed)
        if self.method == "pbt":
            # All trials of a population are created at once, and pause in turn.
            first = [dict(baseline)] if holds(space, baseline) else []
            return BasicVariantGenerator(points_to_evaluate=first, random_state=self.seed)
        drawn = sampler(self.method, self.seed, self.trials)
        return ConcurrencyLimiter(BaselineFirst(baseline, space, self.objective, drawn), self.max_concurrent)

    def scheduler(self, space: Space, first: int) -> TrialScheduler:
        """What stops trials, or copies weights between them; first: the earliest milestone that they report."""
        if self.method == "pbt":
            return Population(space, self.objective, first)
        if not self.early_stopping:
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
    lists = {
        key: list(distribution.choices)
        for key, distribution in space.items()
        if isinstance(distribution, CategoricalDistribution)
    }
    if len(lists) < len(space):
        raise ConfigError(
            f"a grid needs lists of values, and {', '.join(k for k in space if k not in lists)} are ranges: "
            "search with tpe or random, or write CategoricalDistribution([...]) in the sweep's file"
        )
    return lists
