"""Population based training: after each quarter the worst trials go on from weights and settings of the best."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search.sample import Categorical, Domain

from scenelift.cluster import ray_internals
from scenelift.errors import ConfigError
from scenelift.tune.space import Space, ends

if TYPE_CHECKING:
    from ray.tune.execution.tune_controller import TuneController

LENGTHS = {"loop.epochs", "min_steps"}
"""Keys that say how long a training is."""


class Population(PopulationBasedTraining):
    """Trials that wait for each other at every milestone (`trial.milestone`), so that equals are compared."""

    def __init__(self, space: Space, objective: str, first: int) -> None:
        """first: the earliest milestone that trials report; what they share lies before it."""
        super().__init__(
            time_attr="milestone",
            metric=objective,
            mode="max",
            perturbation_interval=1,
            burn_in_period=first,
            hyperparam_mutations={key: _varied(domain) for key, domain in space.items()},
            custom_explore_fn=partial(clipped, space),
            quantile_fraction=0.25,
            synch=True,
        )

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """What the trial does next. Tune would wait for trials that have failed, too."""
        for failed in (other for other in tune_controller.get_trials() if other.is_finished()):
            ray_internals.count_as_arrived(self, failed, result["milestone"])
        return str(super().on_trial_result(tune_controller, trial, result))

    def choose_trial_to_run(self, tune_controller: TuneController) -> Trial | None:
        """The next trial. Where all wait, the last of them has failed: the others go on without an exchange."""
        left = [trial for trial in tune_controller.get_trials() if not trial.is_finished()]
        if left and all(
            trial.status == Trial.PAUSED and ray_internals.arrived(self, trial) for trial in left
        ):
            ray_internals.pass_milestone(self)
        return super().choose_trial_to_run(tune_controller)


def _varied(domain: Domain) -> Domain | list[Any]:
    """A list is varied to a neighbour; Tune would multiply the values of a Categorical, names too."""
    return list(domain.categories) if isinstance(domain, Categorical) else domain


def clipped(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """The values, those of ranges moved into them: Tune multiplies what it takes over."""
    moved = dict(values)
    for key, domain in space.items():
        if not isinstance(domain, Categorical):
            lower, upper = ends(domain)
            moved[key] = min(max(values[key], lower), upper)
    return moved


def check(space: Space, epochs: int) -> None:
    """ConfigError where trials cannot take over each other's weights on the way."""
    for key in LENGTHS & space.keys():
        raise ConfigError(
            f"a population cannot vary {key}, as a training keeps its length; give it as an option, --{key} N"
        )
    if epochs < 4:
        raise ConfigError(f"pbt exchanges weights after each quarter: loop.epochs is 4 or more, not {epochs}")
