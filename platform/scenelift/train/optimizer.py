"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from scenelift.errors import ConfigError

HEADS = "heads."
"""How the names of the parameters begin that `OptimizerConfig.head_lr` is for."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its schedule; the defaults are the paper's (clip2scene.md 5)."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    lr: float = 0.1
    """Highest learning rate."""
    head_lr: float | None = None
    """Highest learning rate of the heads' parameters, a group of their own; none: that of the others."""
    momentum: float = 0.9
    """Momentum of SGD, first beta of AdamW."""
    dampening: float = 0.0
    """Dampening of SGD's momentum."""
    weight_decay: float = 1e-4
    """Weight decay, on all parameters."""
    schedule: Literal["cosine_epoch", "one_cycle", "constant"] = "cosine_epoch"
    """`cosine_epoch`: cosine to zero, a stair per epoch; `one_cycle`: linear warm-up, then cosine per step;
    `constant`: as it is."""
    warmup: float = 0.0
    """Part of all steps that warms up; for one_cycle."""
    clip_norm: float | None = None
    """Largest gradient norm, or none."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"optimizer.lr is positive, not {self.lr}")
        if self.head_lr is not None and self.head_lr <= 0:
            raise ConfigError(f"optimizer.head_lr is positive, not {self.head_lr}; none takes optimizer.lr")
        if self.name == "adamw" and self.dampening:
            raise ConfigError("adamw has no dampening; set optimizer.dampening to 0 or optimizer.name to sgd")
        if self.schedule != "one_cycle" and self.warmup:
            raise ConfigError(f"{self.schedule} has no warm-up; set optimizer.schedule to one_cycle")

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer of the module's trainable parameters."""
        groups = self._groups(module)
        if self.name == "sgd":
            return torch.optim.SGD(
                groups,
                self.lr,
                momentum=self.momentum,
                dampening=self.dampening,
                weight_decay=self.weight_decay,
            )
        return torch.optim.AdamW(
            groups, self.lr, betas=(self.momentum, 0.999), weight_decay=self.weight_decay
        )

    def _groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """One group, or trunk and heads (`heads.*`) with a learning rate each; what is frozen is in none."""
        trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if self.head_lr is None:
            return [{"params": list(trained.values())}]
        heads = [p for name, p in trained.items() if name.startswith(HEADS)]
        trunk = [p for name, p in trained.items() if not name.startswith(HEADS)]
        assert heads, f"optimizer.head_lr, but {type(module).__name__} has no {HEADS}*"
        groups = [{"params": trunk, "lr": self.lr}, {"params": heads, "lr": self.head_lr}]
        return [group for group in groups if group["params"]]

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """What the learning rate of an optimizer step is multiplied by; a function of the step alone."""
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "cosine_epoch":
            return 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / epochs))
        total = steps_per_epoch * epochs
        rise = max(1, round(self.warmup * total))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
