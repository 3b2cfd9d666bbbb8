"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from scenelift.train.config import OptimizerConfig

HEADS = "heads."
"""Prefix of the parameters that `OptimizerConfig.head_lr` applies to."""


def build_optimizer(config: OptimizerConfig, module: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of the module's trainable parameters; on a GPU, one kernel for all of them."""
    groups = _groups(config, module)
    fused = all(p.is_cuda for group in groups for p in group["params"])
    if config.name == "sgd":
        return torch.optim.SGD(
            groups,
            config.lr,
            momentum=config.momentum,
            dampening=config.dampening,
            weight_decay=config.weight_decay,
            fused=fused,
        )
    betas = (config.momentum, 0.999)
    return torch.optim.AdamW(groups, config.lr, betas=betas, weight_decay=config.weight_decay, fused=fused)


def _groups(config: OptimizerConfig, module: nn.Module) -> list[dict[str, Any]]:
    """One group, or two with a learning rate each: trunk and heads (`heads.*`). Frozen parameters are in none."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if config.head_lr is None:
        return [{"params": list(trained.values())}]
    heads = [p for name, p in trained.items() if name.startswith(HEADS)]
    trunk = [p for name, p in trained.items() if not name.startswith(HEADS)]
    assert heads, f"optimizer.head_lr, but {type(module).__name__} has no {HEADS}*"
    groups = [{"params": trunk, "lr": config.lr}, {"params": heads, "lr": config.head_lr}]
    return [group for group in groups if group["params"]]


def lr_factor(config: OptimizerConfig, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The factor of the learning rate at an optimizer step."""
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "cosine_epoch":
        return 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / epochs))
    total = steps_per_epoch * epochs
    rise = max(1, round(config.warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
