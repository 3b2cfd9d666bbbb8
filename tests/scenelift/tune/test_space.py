"""Protects what sweeps search in, and that a search's first trial is the preset."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from PIL import Image

from scenelift.config.build import override
from scenelift.errors import ConfigError
from scenelift.tune import results
from scenelift.tune import space as spaces
from scenelift.tune.config import SweepConfig
from scenelift.tune.results import Outcome
from scenelift.tune.search import Choice

SPACE = {
    "a": FloatDistribution(0.01, 100, log=True),
    "b": CategoricalDistribution([None, 3, "x"]),
    "c": IntDistribution(1, 4),
}


def drawn(space: spaces.Space, count: int) -> list[dict[str, Any]]:
    results = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [results.ask(dict(space)).params for _ in range(count)]


def outcomes(count: int = 9) -> list[Outcome]:
    rng, made = np.random.default_rng(0), []
    for number, values in enumerate(drawn(SPACE, count)):
        status = ("finished", "stopped", "failed")[number % 3]
        metrics = {} if status == "failed" else {"m": float(rng.uniform())}
        made.append(Outcome(f"t{number}", values, status, number, metrics, 1.0, baseline=number == 0))
    return made


@pytest.mark.parametrize("name", ["loss_weights", "self_training", "finetune"])
def test_every_sweep_fits_every_preset_of_its_trainable(name: str) -> None:
    sweep = importlib.import_module(f"sweeps.{name}").SWEEP
    assert sweep.name == name
    for preset in sweep.presets.values():
        space = spaces.checked(sweep.space(preset), preset)
        for values in drawn(space, 20):
            override(preset, values)


@pytest.mark.parametrize(
    ("space", "own", "held"),
    [
        ({"loss.grid": FloatDistribution(0.05, 1)}, {"loss.grid": 0.1}, True),
        ({"loss.grid": FloatDistribution(0.2, 1)}, {"loss.grid": 0.1}, False),
        ({"loss.cap": CategoricalDistribution([None, 8])}, {"loss.cap": None}, True),
        ({"loss.cap": IntDistribution(1, 8)}, {"loss.cap": None}, False),
    ],
)
def test_own_values_may_lie_beside_the_space(space: spaces.Space, own: dict[str, Any], held: bool) -> None:
    preset = importlib.import_module("trainables.distill.config").PRESETS["synthetic"]
    assert spaces.baseline_values(space, preset) == own
    assert spaces.holds(space, own) == held


@pytest.mark.parametrize("method", ["tpe", "random"])
@pytest.mark.parametrize("own", [{"x": 0.5, "s": "a"}, {"x": 0.5, "s": None}, {"x": 7.0, "s": "b"}])
def test_the_preset_is_tried_once_and_first_and_the_rest_lies_in_the_space(
    method: Any, own: dict[str, Any], tmp_path: Path
) -> None:
    space = {"x": FloatDistribution(0, 1), "s": CategoricalDistribution(["a", "b"])}
    choice = Choice(SweepConfig(8, method, early_stopping=False), "m", 1)
    assert choice.tries(own, space)

    algorithm, drawn = choice.algorithm(own, space), []
    for number in range(8):
        if number == 4:  # a sweep that goes on, in a new process
            algorithm.save(str(tmp_path / "state"))
            algorithm = choice.algorithm(own, space)
            algorithm.restore(str(tmp_path / "state"))
        values = algorithm.suggest(f"t{number}")
        drawn.append(values)
        result = {"m": values["x"], "training_iteration": 1}
        algorithm.on_trial_result(f"t{number}", result)
        algorithm.on_trial_complete(f"t{number}", result)
    assert drawn[0] == own and own not in drawn[1:]
    assert all(spaces.holds(space, values) for values in drawn[1:])
    assert len({values["x"] for values in drawn}) == 8


def test_domains_in_words() -> None:
    said = [spaces.describe(domain) for domain in SPACE.values()]
    assert said == ["0.01 .. 100, log", "none | 3 | x", "1 .. 4"]


def test_a_grid_is_every_combination() -> None:
    space = {"a": CategoricalDistribution([1, 2, 3]), "b": CategoricalDistribution([True, False])}
    choice = Choice(SweepConfig(99, "grid", early_stopping=False), "m", 1)
    assert choice.count(space) == 6
    assert choice.parameters(space)["a"] == {"grid_search": [1, 2, 3]}
    with pytest.raises(ConfigError, match="a, c are ranges"):
        choice.count(SPACE)


def test_importance_goes_to_what_matters() -> None:
    rng = np.random.default_rng(0)
    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    trials = [
        ({"a": a, "b": b}, -((a - 0.5) ** 2) + 0.001 * b) for a, b in rng.uniform(size=(60, 2)).tolist()
    ]
    shares = results.importance(space, trials)
    assert next(iter(shares)) == "a" and shares["a"] > 0.8 and sum(shares.values()) == pytest.approx(1)
    assert results.importance(space, trials[:3]) == {}
    assert results.importance(space, [({"a": 0.1, "b": 0.2}, 1.0)] * 9) == {}
    beside = [({"a": 2.0, "b": None}, 9.0)]
    assert results.importance(space, [*trials, *beside]) == shares, "of what lies in the space"


def test_finished_trials_come_before_those_stopped_early() -> None:
    order = results.ranked(outcomes(), "m")
    assert [o.status for o in order] == ["finished"] * 3 + ["stopped"] * 3 + ["failed"] * 3
    for group in (order[:3], order[3:6]):
        values = [o.metrics["m"] for o in group]
        assert values == sorted(values, reverse=True)
    table = results.rows(outcomes(), "m")
    assert [row["rank"] for row in table] == list(range(1, 10)) and sum(row["preset"] for row in table) == 1
    assert "the preset's own" in results.text(outcomes(), "m")


@pytest.mark.parametrize(
    ("own", "status", "said"),
    [
        (0.4, "finished", "+0.100 against the preset's own values"),
        (0.6, "finished", "no other trial is better"),
        (0.6, "stopped", "was stopped after epoch 3"),
    ],
)
def test_a_gain_is_told_against_the_presets_own_values(own: float, status: Any, said: str) -> None:
    tried = [
        Outcome("a", {}, "finished", 9, {"m": 0.5}, 1.0),
        Outcome("b", {}, status, 3, {"m": own}, 1.0, baseline=True),
    ]
    assert said in results.gain(tried, "m")
    assert results.gain(tried[:1], "m") == ""


@pytest.mark.parametrize(
    ("count", "own"), [(1, {"b": None}), (9, {"b": "beyond"}), (9, {"a": 1e9, "b": "beyond", "c": None})]
)
def test_pictures_mark_the_presets_own_values(count: int, own: dict[str, Any], tmp_path: Path) -> None:
    trials = [(values, number / 9) for number, values in enumerate(drawn(SPACE, count))]
    trials[0] = ({**trials[0][0], **own}, 0.5)
    results.pictures(tmp_path, SPACE, trials, "m", {"a": 0.7, "b": 0.2, "c": 0.1}, 0)
    for name in ("parallel_coordinates.png", "slices.png"):
        pixels: Any = np.asarray(Image.open(tmp_path / name).convert("RGB")).reshape(-1, 3).astype(int)
        marked = (np.abs(pixels - np.array([0xD1, 0x66, 0x2A])).sum(1) < 12).any()
        assert marked or own.keys() == SPACE.keys()


def test_tune_draws_from_the_same_space() -> None:
    for distribution in [*SPACE.values(), IntDistribution(1, 3, log=True), FloatDistribution(-1, 1)]:
        domain, random = spaces.tune_domain(distribution), np.random.RandomState(0)
        values = [domain.sample(random_state=random) for _ in range(200)]
        assert all(spaces.inside(distribution, value) for value in values)
        if not isinstance(distribution, FloatDistribution):
            every = getattr(distribution, "choices", None) or range(distribution.low, distribution.high + 1)
            assert set(values) == set(every), "the upper end, too"
