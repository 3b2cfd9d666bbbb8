"""Optuna behind Ray Tune: how trials are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import optuna
from optuna.samplers import RandomSampler, TPESampler
from ray.tune.search.optuna import OptunaSearch

from scenelift.tune import study
from scenelift.tune.space import Space, holds


class BaselineFirst(OptunaSearch):
    """Tries the baseline before anything is drawn. If it is outside the space, Optuna never sees that trial."""

    def __init__(
        self, baseline: Mapping[str, Any], space: Space, objective: str, sampler: optuna.samplers.BaseSampler
    ) -> None:
        study.silence()
        inside = holds(space, baseline)
        super().__init__(
            space=dict(space),
            metric=objective,
            mode="max",
            points_to_evaluate=[dict(baseline)] if inside else None,
            sampler=sampler,
        )
        self._own = None if inside else dict(baseline)
        self._first: str | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The values of a trial."""
        if self._own is None or self._first not in (None, trial_id):
            return super().suggest(trial_id)
        self._first = trial_id
        return dict(self._own)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial was validated."""
        if trial_id != self._first:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended."""
        if trial_id != self._first:
            super().on_trial_complete(trial_id, result, error)


def sampler(method: Literal["tpe", "random"], seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Independent draws, or TPE, which learns from trials after a quarter of them, and after at least four."""
    study.silence()
    if method == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=max(4, trials // 4), multivariate=True)
