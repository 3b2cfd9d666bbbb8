"""Schedules have the specification's values and configs refuse what they would ignore."""

import itertools

import pytest
import torch

from scenelift.errors import ConfigError
from scenelift.optimisers import OptimiserConfig


def test_cosine_by_epoch():
    """clip2scene.md 9, point 12: 0.1, 0.05, 0 at epochs 0, 10, 20; constant within an epoch."""
    config = OptimiserConfig(lr=0.1)
    rate = [config.lr * config.factor(step, steps_per_epoch=7, epochs=20) for step in (0, 6, 70, 140)]
    assert rate == pytest.approx([0.1, 0.1, 0.05, 0.0])


def test_one_cycle_rises_then_falls_to_zero():
    config = OptimiserConfig("adamw", schedule="one_cycle", warmup=0.1)
    factors = [config.factor(step, 10, 10) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(factors) == 1
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0)


def test_the_paper_optimiser_is_torch_sgd():
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    group = OptimiserConfig(dampening=0.1).build(layer).param_groups[0]
    assert (group["lr"], group["momentum"], group["dampening"]) == (0.1, 0.9, 0.1)
    assert group["weight_decay"] == 1e-4
    assert group["params"] == [layer.weight], "frozen parameters are left out"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "adamw", "dampening": 0.1}, "no dampening"),
        ({"warmup": 0.1}, "one_cycle"),
        ({"lr": 0.0}, "positive"),
    ],
)
def test_what_would_be_ignored_is_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        OptimiserConfig(**kwargs)
