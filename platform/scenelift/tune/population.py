"""Population based training: after each quarter the worst trials copy weights and settings of the best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.sample import Domain

from scenelift.cluster import ray_internals
from scenelift.errors import ConfigError
from scenelift.tune.space import Distribution, Space, tune_domain

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

LENGTHS = {"loop.epochs", "min_steps"}
"""Keys that set the length of a training."""


class Population(PopulationBasedTraining):
    """Trials that wait for each other at every milestone (`trial.milestone`), so that equals are compared."""

    def __init__(self, space: Space, objective: str, first: int) -> None:
        """first: the earliest milestone that trials report, after the epochs that all share."""
        super().__init__(
            time_attr="milestone",
            metric=objective,
            mode="max",
            perturbation_interval=1,
            burn_in_period=first,
            hyperparam_mutations={key: _varied(distribution) for key, distribution in space.items()},
            custom_explore_fn=partial(clipped, space),
            quantile_fraction=0.25,
            synch=True,
        )

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """What the trial does next. Tune would also wait for trials that have failed."""
        for failed in (other for other in tune_controller.get_trials() if other.is_finished()):
            ray_internals.count_as_arrived(self, failed, result["milestone"])
        return str(super().on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The next trial. If all of them wait, the last one has failed: the others continue without an exchange."""
        left = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        if left and all(
            trial.status == Trial.PAUSED and ray_internals.arrived(self, trial) for trial in left
        ):
            ray_internals.pass_milestone(self)
        return super().choose_trial_to_run(tune_controller)


def _varied(distribution: Distribution) -> Domain | list[Any]:
    """What Tune varies: a list to a neighbor; the values of a `tune.choice` it would multiply, even strings."""
    listed = isinstance(distribution, CategoricalDistribution)
    return list(distribution.choices) if listed else tune_domain(distribution)


def clipped(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """The values, clipped to their ranges: Tune multiplies what it copies."""
    ranges = {key: d for key, d in space.items() if not isinstance(d, CategoricalDistribution)}
    return {**values, **{key: min(max(values[key], d.low), d.high) for key, d in ranges.items()}}


def check(space: Space, epochs: int) -> None:
    """ConfigError if trials cannot copy each other's weights during training."""
    for key in LENGTHS & space.keys():
        raise ConfigError(
            f"a population cannot vary {key}, since trainings must have one length; give it as an option, --{key} N"
        )
    if epochs < 4:
        raise ConfigError(
            f"pbt copies weights after each quarter: loop.epochs must be 4 or more, not {epochs}"
        )
