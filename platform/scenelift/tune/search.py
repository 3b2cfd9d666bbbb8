"""What a sweep searches in, how it chooses its trials, and how many of them fit side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import ray
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    TrialScheduler,
)
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform

from scenelift.cluster import connect as cluster
from scenelift.config.build import flatten, nearest, override
from scenelift.errors import ClusterError, ConfigError
from scenelift.train.config import ScaleConfig

Space = Mapping[str, Domain]
"""Dotted config key -> what Ray Tune draws for it: tune.uniform, loguniform, randint, choice."""
GRACE = 25
"""Percent of its training that every trial is given before it is judged."""
Method = Literal["tpe", "random", "grid", "pbt"]


def checked(space: Space, config: Any) -> dict[str, Domain]:
    """The space, every key and drawn value of which the config knows; ConfigError otherwise."""
    known = flatten(config)
    for key, domain in space.items():
        if key not in known:
            raise ConfigError(f"the space searches {key}, which the config has not; {nearest(key, known)}")
        values = domain.categories if isinstance(domain, Categorical) else [domain.sample()]
        for value in values:
            try:
                override(config, {key: value})
            except ConfigError as error:
                raise ConfigError(f"the space searches {key} = {value!r}, which cannot be: {error}") from None
    return dict(space)


def baseline_values(space: Space, config: Any) -> dict[str, Any]:
    """What the config itself has for the keys of the space."""
    known = flatten(config)
    return {key: known[key] for key in space}


def holds(space: Space, values: Mapping[str, Any]) -> bool:
    """Whether the space may draw these values."""
    return all(_may_be(domain, values[key]) for key, domain in space.items())


def _may_be(domain: Domain, value: Any) -> bool:
    if isinstance(domain, Categorical):
        return value in domain.categories
    return isinstance(value, int | float) and domain.is_valid(value)


def ends(domain: Domain) -> tuple[float, float]:
    """The least and the largest value of a range."""
    assert isinstance(domain, Float | Integer), f"no range: {domain}"
    return domain.lower, domain.upper - 1 if isinstance(domain, Integer) else domain.upper


def describe(domain: Domain) -> str:
    """A domain in words: `0.1 .. 10, log`, `1 .. 4`, `batch | point`."""
    if isinstance(domain, Categorical):
        return " | ".join("none" if value is None else str(value) for value in domain.categories)
    lower, upper = ends(domain)
    scale = ", log" if isinstance(domain.get_sampler(), LogUniform) else ""
    return f"{lower:g} .. {upper:g}{scale}"


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
        if not ray.cluster_resources().get(cluster.SWEEP):
            raise ClusterError(
                "a population needs a cluster whose head was started with "
                f"--resources '{{\"{cluster.SWEEP}\": 1}}', so that its trials can take turns"
            )
        # No CPU: a cluster's head may have none.
        return {cluster.SWEEP: math.floor(1e4 / self.max_concurrent) / 1e4}

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
        from scenelift.tune.optuna_search import BaselineFirst, sampler

        drawn = sampler(self.method, self.seed, self.trials)
        return ConcurrencyLimiter(BaselineFirst(baseline, space, self.objective, drawn), self.max_concurrent)

    def scheduler(self, space: Space, first: int) -> TrialScheduler:
        """What stops trials, or lets them learn from each other; first: the earliest milestone they report."""
        if self.method == "pbt":
            from scenelift.tune.population import Population

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


@dataclass(frozen=True)
class Placement:
    """How many trials run at once, and what each worker of theirs gets."""

    max_concurrent: int
    scale: ScaleConfig
    reason: str

    @classmethod
    def fit(cls, scale: ScaleConfig, trials: int, wanted: int | None) -> Placement:
        """As many trials as have their workers and a CPU for reading each; ClusterError if not one has.

        wanted: so many at most; ClusterError if they do not fit, since trials that take each other's CPUs for
        reading would wait for ever.
        """
        gpus = scale.gpus
        if gpus is None:
            gpus = 1.0 if cluster.total("GPU") >= scale.max_workers else 0.0
        most, cpus = cluster.side_by_side(
            scale.max_workers, scale.cpus, gpus, scale.data_cpus, wanted or trials
        )
        each = f"{scale.max_workers} x {cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        each += f" to train and {scale.data_cpus:g} CPU to read"
        kinds = ("CPU", "GPU") if gpus else ("CPU",)
        there = " and ".join(f"{cluster.total(kind):g} {kind}" for kind in kinds)
        if not most:
            raise ClusterError(f"not one trial fits: it takes {each}, Ray has {there}; lower scale.workers")
        if wanted is not None and most < wanted:
            raise ClusterError(f"{most} trials fit at once, not {wanted}: each takes {each}, Ray has {there}")
        counted = "one trial at a time" if most == 1 else f"{most} trials at once"
        return cls(
            most,
            dataclasses.replace(scale, cpus=cpus, gpus=gpus),
            f"{counted}: each takes {each}, Ray has {there}",
        )


Draw = Callable[[Any], Space]
"""A sweep's space, which may follow from the config: the epochs of self-training from those of the loop."""
