"""The search of self-training: every trial that it can draw is a config, and none starts while all are the same."""

from __future__ import annotations

import optuna
import pytest
from optuna.samplers import RandomSampler

from scenelift.config import build as configuration
from scenelift.tune import command
from scenelift.tune import space as spaces
from sweeps.self_training import SWEEP, space, until_it_starts
from trainables.distill.config import PRESETS


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_whatever_is_drawn_starts_and_is_a_config(name: str) -> None:
    preset = PRESETS[name]
    searched = spaces.checked(space(preset), preset)
    starts = preset.self_training.start is not None
    assert spaces.holds(searched, spaces.baseline_values(searched, preset)) == starts
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for _ in range(50):
        configuration.override(preset, study.ask(searched).params)


def test_shared_epochs_end_where_the_first_trial_starts() -> None:
    preset = PRESETS["synthetic_half"]
    searched = space(preset)
    starts = searched["self_training.start"].choices
    assert until_it_starts(preset, searched) == min(starts) < preset.loop.epochs
    assert preset.self_training.start in starts


def test_a_given_start_is_where_shared_epochs_end() -> None:
    _, config, given = command.parse(SWEEP, ["--self_training.start", "8"])
    searched = {key: domain for key, domain in space(config).items() if key not in given}
    assert until_it_starts(config, searched) == 8
