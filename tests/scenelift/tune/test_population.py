"""Protects what a population may vary, and where its trials wait for each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.schedulers.pbt import _PBTTrialState

from scenelift.errors import ConfigError
from scenelift.tune import search
from scenelift.tune import space as spaces
from scenelift.tune.search import Population
from scenelift.tune.trial import Reporter, milestone

SPACE = {
    "a": FloatDistribution(0.01, 100, log=True),
    "b": CategoricalDistribution([None, 3, "x"]),
    "c": IntDistribution(1, 4),
}


def test_what_is_taken_over_is_varied_within_the_space() -> None:
    explore = Population(SPACE, "m", 1)._get_new_config
    values: dict[str, Any] = {"a": 90.0, "b": "x", "c": 4}
    for _ in range(200):
        values, _ = explore(None, SimpleNamespace(config=values))
        assert spaces.holds(SPACE, values)


class Waiting:
    """A trial, as far as its scheduler looks."""

    experiment_tag = ""

    def __init__(self) -> None:
        self.status = Trial.PAUSED

    def is_finished(self) -> bool:
        return self.status == Trial.ERROR


def test_trials_wait_for_the_last_of_them_and_not_for_one_that_fails() -> None:
    trials: Any = [Waiting() for _ in range(3)]
    late = trials[2]
    controller: Any = SimpleNamespace(get_trials=lambda: trials, get_live_trials=lambda: trials)
    scheduler = Population(SPACE, "m", 1)
    scheduler._trial_state = {trial: _PBTTrialState(trial) for trial in trials}
    for trial in trials[:2]:
        scheduler._trial_state[trial].last_train_time = 1
    assert scheduler.choose_trial_to_run(controller) is late
    late.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(controller) is None, "the others wait"
    late.status = Trial.ERROR
    assert scheduler.choose_trial_to_run(controller) is trials[0], "and go on without it"
    result = {"m": 0.5, "milestone": 2}
    assert scheduler.on_trial_result(controller, trials[0], result) == TrialScheduler.NOOP
    assert scheduler._trial_state[late].last_train_time == 2, "nor do they wait for it at later milestones"


def test_how_long_it_trains_is_not_varied() -> None:
    with pytest.raises(ConfigError, match=r"give it as an option, --loop\.epochs N"):
        search.check_population({"loop.epochs": CategoricalDistribution([4, 8])}, 8)
    with pytest.raises(ConfigError, match="4 or more, not 3"):
        search.check_population(SPACE, 3)


@pytest.mark.parametrize("epochs", range(4, 14))
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_every_trial_reports_every_milestone_once_and_its_end(
    epochs: int, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it pauses: after each report its process ends, and another one goes on."""
    reports: list[dict[str, float]] = []
    checkpoints: Any = SimpleNamespace(latest=lambda: None)
    monkeypatch.setattr(tune, "report", lambda values, checkpoint: reports.append(values))
    reporter = Reporter("m", checkpoints)
    for epoch in range(shared + 1, epochs + 1):
        before = len(reports)
        reporter.observe({"m": 0.5, "epoch": epoch, "percent": 100 * epoch / epochs})
        if len(reports) > before:
            reporter = Reporter("m", checkpoints)
    first = milestone(100 * shared / epochs) + 1
    assert [values["milestone"] for values in reports] == [*range(first, 4), 0]
    assert reports[-1]["percent"] == 100
