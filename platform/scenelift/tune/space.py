"""The search space of a sweep, as Optuna's distributions and as Ray Tune takes it (imported when needed)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from scenelift.config.build import flatten, nearest, override
from scenelift.errors import ConfigError

if TYPE_CHECKING:
    from ray.tune.search.sample import Domain

Distribution: TypeAlias = FloatDistribution | IntDistribution | CategoricalDistribution
"""A range of numbers, both ends included, or a list of None, bool, int, float and str."""
Space = Mapping[str, Distribution]
"""Dotted config key -> the values that trials may have."""
Draw = Callable[[Any], Space]
"""Config -> search space: the epochs at which self-training may start follow from the length of training."""


def checked(space: Space, config: Any) -> dict[str, Distribution]:
    """The space, if the config accepts every key, listed value and end of a range; else ConfigError."""
    known = flatten(config)
    for key, distribution in space.items():
        if key not in known:
            raise ConfigError(f"the space has {key}, which the config does not; {nearest(key, known)}")
        listed = isinstance(distribution, CategoricalDistribution)
        for value in distribution.choices if listed else (distribution.low, distribution.high):
            try:
                override(config, {key: value})
            except ConfigError as error:
                raise ConfigError(f"the space has {key} = {value!r}, which is not valid: {error}") from None
    return dict(space)


def baseline_values(space: Space, config: Any) -> dict[str, Any]:
    """The config's values of the keys of the space."""
    values = flatten(config)
    return {key: values[key] for key in space}


def inside(distribution: Distribution, value: Any) -> bool:
    """Whether a trial may have this value."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def holds(space: Space, values: Mapping[str, Any]) -> bool:
    """Whether a trial may have these values."""
    return all(inside(distribution, values[key]) for key, distribution in space.items())


def describe(distribution: Distribution) -> str:
    """A distribution in words: `0.1 .. 10, log`, `1 .. 4`, `batch | point`."""
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join("none" if value is None else str(value) for value in distribution.choices)
    return f"{distribution.low:g} .. {distribution.high:g}{', log' if distribution.log else ''}"


def tune_domain(distribution: Distribution) -> Domain:
    """The same distribution for Ray Tune, for a search without Optuna."""
    from ray import tune

    if isinstance(distribution, CategoricalDistribution):
        return tune.choice(list(distribution.choices))
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution):  # Tune leaves the upper end out
        return (tune.lograndint if distribution.log else tune.randint)(low, high + 1)
    return (tune.loguniform if distribution.log else tune.uniform)(low, high)
