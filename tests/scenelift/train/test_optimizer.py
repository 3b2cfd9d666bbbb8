"""Schedules have the specification's values and configs refuse what they would ignore."""

import itertools

import pytest
import torch

from scenelift.errors import ConfigError
from scenelift.train.config import OptimizerConfig
from scenelift.train.optimizer import build_optimizer, lr_factor


def test_cosine_by_epoch():
    """clip2scene.md 9, point 12: 0.1, 0.05, 0 at epochs 0, 10, 20; constant within an epoch."""
    config = OptimizerConfig(lr=0.1)
    rate = [config.lr * lr_factor(config, step, steps_per_epoch=7, epochs=20) for step in (0, 6, 70, 140)]
    assert rate == pytest.approx([0.1, 0.1, 0.05, 0.0])


def test_one_cycle_rises_then_falls_to_zero():
    config = OptimizerConfig("adamw", schedule="one_cycle", warmup=0.1)
    factors = [lr_factor(config, step, 10, 10) for step in range(101)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(factors) == 1
    assert all(a >= b for a, b in itertools.pairwise(factors[10:]))
    assert factors[100] == pytest.approx(0)


def test_the_paper_optimizer_is_torch_sgd():
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    group = build_optimizer(OptimizerConfig(dampening=0.1), layer).param_groups[0]
    assert (group["lr"], group["momentum"], group["dampening"]) == (0.1, 0.9, 0.1)
    assert group["weight_decay"] == 1e-4
    assert group["params"] == [layer.weight], "frozen parameters are left out"


class Headed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Linear(3, 2)
        self.heads = torch.nn.ModuleDict({"classifier": torch.nn.Linear(2, 4)})


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_heads_have_a_learning_rate_of_their_own(name):
    """clip2scene.md 8.2, item 4: the paper's group for the head was empty; ours holds it and nothing else."""
    module = Headed()
    config = OptimizerConfig(name, lr=0.02, head_lr=2.0)
    optimizer = build_optimizer(config, module)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    trunk, head = optimizer.param_groups
    assert (trunk["params"], trunk["lr"]) == (list(module.backbone.parameters()), 0.02)
    assert (head["params"], head["lr"]) == (list(module.heads.parameters()), 2.0)
    assert trunk["weight_decay"] == head["weight_decay"] == 1e-4
    optimizer.step()
    schedule.step()
    assert (trunk["lr"], head["lr"]) == (0.01, 1.0), "the schedule scales both"
    module.backbone.requires_grad_(False)
    (only,) = build_optimizer(config, module).param_groups
    assert (only["params"], only["lr"]) == (list(module.heads.parameters()), 2.0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "adamw", "dampening": 0.1}, "no dampening"),
        ({"warmup": 0.1}, "one_cycle"),
        ({"lr": 0.0}, "^lr must be more than 0"),
        ({"head_lr": 0.0}, "head_lr must be more than 0"),
    ],
)
def test_what_would_be_ignored_is_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        OptimizerConfig(**kwargs)
