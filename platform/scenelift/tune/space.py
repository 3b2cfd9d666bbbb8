"""What a sweep searches in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform

from scenelift.config.build import flatten, nearest, override
from scenelift.errors import ConfigError

Space = Mapping[str, Domain]
"""Dotted config key -> what Ray Tune draws for it: tune.uniform, loguniform, randint, choice."""
Draw = Callable[[Any], Space]
"""A sweep's space, which may follow from the config: the epochs of self-training from those of the loop."""


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
