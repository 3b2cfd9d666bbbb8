"""Optuna behind Ray Tune: how trials are drawn, and what their objective depends on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler, TPESampler
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain, Integer, LogUniform

from scenelift.tune.space import Space, ends, holds

optuna.logging.set_verbosity(logging.ERROR)  # it would tell of every trial
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class BaselineFirst(OptunaSearch):
    """Tries `own` before anything is drawn. Where the space does not hold it, Optuna never hears of that trial."""

    def __init__(
        self, baseline: Mapping[str, Any], space: Space, objective: str, sampler: optuna.samplers.BaseSampler
    ) -> None:
        inside = holds(space, baseline)
        super().__init__(
            metric=objective,
            mode="max",
            points_to_evaluate=[dict(baseline)] if inside else None,
            sampler=sampler,
        )
        self._own = None if inside else dict(baseline)
        self._first: str | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """What the trial tries."""
        if self._own is None or self._first not in (None, trial_id):
            return super().suggest(trial_id)
        self._first = trial_id
        return dict(self._own)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A validation of a trial."""
        if trial_id != self._first:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended."""
        if trial_id != self._first:
            super().on_trial_complete(trial_id, result, error)


def sampler(method: Literal["tpe", "random"], seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Draws alone, or Optuna's estimator, which learns once a quarter of the trials, four at least, were drawn."""
    if method == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=max(4, trials // 4), multivariate=True)


Ranked = Sequence[tuple[Mapping[str, Any], float]]
"""Values of a trial by key, and its objective."""


def importance(space: Space, trials: Ranked) -> dict[str, float]:
    """Share of each key in what the objective depends on (PED-ANOVA, by Optuna), the largest first.

    Trials whose values the space does not hold are left out; empty where fewer than four tell anything.
    """
    inside = [(dict(values), objective) for values, objective in trials if holds(space, values)]
    if len(inside) < 4 or len({objective for _, objective in inside}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    distributions = {key: _distribution(domain) for key, domain in space.items()}
    for values, objective in inside:
        study.add_trial(
            optuna.trial.create_trial(params=values, distributions=distributions, value=objective)
        )
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Categorical):
        return CategoricalDistribution(domain.categories)
    log = isinstance(domain.get_sampler(), LogUniform)
    lower, upper = ends(domain)
    if isinstance(domain, Integer):
        return IntDistribution(int(lower), int(upper), log=log)
    return FloatDistribution(lower, upper, log=log)
