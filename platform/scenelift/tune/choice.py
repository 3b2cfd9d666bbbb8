"""How a sweep chooses its trials, and which of them it stops early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.sample import Categorical

from scenelift.cluster import resources
from scenelift.errors import ClusterError, ConfigError
from scenelift.tune.optuna_search import BaselineFirst, sampler
from scenelift.tune.population import Population
from scenelift.tune.space import Space, holds
from scenelift.tune.trial import GRACE

Method = Literal["tpe", "random", "grid", "pbt"]


@dataclass(frozen=True)
class Choice:
    """How trials are chosen, and which are given up early."""

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
        return math.prod(len(domain.categories) for domain in _choices(space).values())

    def parameters(self, space: Space) -> dict[str, Any]:
        """The space as Tune takes it."""
        if self.method != "grid":
            return dict(space)
        return {key: tune.grid_search(domain.categories) for key, domain in _choices(space).items()}

    def resources(self) -> dict[str, float]:
        """What the process of a trial takes. It waits for its training, which has resources of its own."""
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
        """Whether the preset's own values are among the trials wherever they lie."""
        return self.method in ("tpe", "random") or holds(space, baseline)

    def algorithm(self, baseline: Mapping[str, Any], space: Space) -> SearchAlgorithm | Searcher:
        """What draws the trials; `baseline` is the first of them, unless the method lays a grid."""
        if self.method == "grid":
            return BasicVariantGenerator(max_concurrent=self.max_concurrent, random_state=self.seed)
        if self.method == "pbt":
            # A population is made at once: its trials pause where others wait for their turn.
            first = [dict(baseline)] if holds(space, baseline) else []
            return BasicVariantGenerator(points_to_evaluate=first, random_state=self.seed)
        drawn = sampler(self.method, self.seed, self.trials)
        return ConcurrencyLimiter(BaselineFirst(baseline, space, self.objective, drawn), self.max_concurrent)

    def scheduler(self, space: Space, first: int) -> TrialScheduler:
        """What stops trials, or lets them learn from each other; first: the earliest milestone they report."""
        if self.method == "pbt":
            return Population(space, self.objective, first)
        if not self.early_stopping:
            return FIFOScheduler()
        return ASHAScheduler(
            time_attr="percent",
            metric=self.objective,
            mode="max",
            max_t=99,  # with the next line: judged at 25 and at 50, and never stopped when it is done
            stop_last_trials=False,
            grace_period=GRACE,
            reduction_factor=2,
        )


def _choices(space: Space) -> dict[str, Categorical]:
    """The space of a grid; ConfigError if it holds what cannot be enumerated."""
    ranges = [key for key, domain in space.items() if not isinstance(domain, Categorical)]
    if ranges:
        raise ConfigError(
            f"a grid needs lists of values, and {', '.join(ranges)} are ranges: search with tpe or random, or "
            "write tune.choice([...]) in the sweep's file"
        )
    return {key: domain for key, domain in space.items() if isinstance(domain, Categorical)}
