"""Searches CLIP2Scene's losses: their weights, the temperature, and the cells of spatial-temporal consistency.

`python -m sweeps.loss_weights [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.distributions import FloatDistribution

from scenelift.tune.command import main
from scenelift.tune.config import Sweep
from trainables.distill.config import PRESETS, DistillConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Space


def space(config: DistillConfig) -> Space:
    """Weights matter relative to each other and to the learning rate, so they span an order of magnitude."""
    losses = {
        "loss.semantic": FloatDistribution(0.3, 3.0, log=True),
        "loss.temperature": FloatDistribution(0.05, 1.0, log=True),
    }
    if config.loss.spatial_temporal:
        losses["loss.spatial_temporal"] = FloatDistribution(0.1, 10.0, log=True)
        losses["loss.grid"] = FloatDistribution(0.1, 2.0, log=True)
    return losses


SWEEP = Sweep("loss_weights", "trainables.distill.task:DistillTask", PRESETS, space, preset="synthetic_half")

if __name__ == "__main__":
    from sweeps.loss_weights import SWEEP

    main(SWEEP)
