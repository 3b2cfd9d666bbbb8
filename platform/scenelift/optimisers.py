"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from scenelift.errors import ConfigError


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its schedule; the defaults are the paper's (clip2scene.md 5)."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    lr: float = 0.1
    """Highest learning rate."""
    momentum: float = 0.9
    """Momentum of SGD, first beta of AdamW."""
    dampening: float = 0.0
    """Dampening of SGD's momentum."""
    weight_decay: float = 1e-4
    """Weight decay, on all parameters."""
    schedule: Literal["cosine_epoch", "one_cycle"] = "cosine_epoch"
    """`cosine_epoch`: cosine to zero, a stair per epoch; `one_cycle`: linear warm-up, then cosine per step."""
    warmup: float = 0.0
    """Part of all steps that warms up; for one_cycle."""
    clip_norm: float | None = None
    """Largest gradient norm, or none."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ConfigError(f"optimiser.lr is positive, not {self.lr}")
        if self.name == "adamw" and self.dampening:
            raise ConfigError("adamw has no dampening; set optimiser.dampening to 0 or optimiser.name to sgd")
        if self.schedule == "cosine_epoch" and self.warmup:
            raise ConfigError("cosine_epoch has no warm-up; set optimiser.schedule to one_cycle")

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimiser of the module's trainable parameters."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        if self.name == "sgd":
            return torch.optim.SGD(
                parameters,
                self.lr,
                momentum=self.momentum,
                dampening=self.dampening,
                weight_decay=self.weight_decay,
            )
        return torch.optim.AdamW(
            parameters, self.lr, betas=(self.momentum, 0.999), weight_decay=self.weight_decay
        )

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """What the learning rate of an optimiser step is multiplied by; a function of the step alone."""
        if self.schedule == "cosine_epoch":
            return 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / epochs))
        total = steps_per_epoch * epochs
        rise = max(1, round(self.warmup * total))
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))
