"""Searches CLIP2Scene's switchable self-training: when it starts, how often and how much switches, what counts.

`python -m sweeps.self_training [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.distributions import CategoricalDistribution, FloatDistribution

from scenelift.tune.command import main
from scenelift.tune.config import Sweep, SweepConfig
from trainables.distill.config import PRESETS, DistillConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Space


def space(config: DistillConfig) -> Space:
    """Starts are shares of the training. A preset that never starts is tried once, beside the space."""
    own, epochs = config.self_training.start, config.loop.epochs
    starts = {min(round(share * epochs), epochs - 1) for share in (0.7, 0.8, 0.9)}
    return {
        "self_training.start": CategoricalDistribution(sorted(starts if own is None else starts | {own})),
        "self_training.probability": FloatDistribution(0.2, 0.8),
        "self_training.scope": CategoricalDistribution(["batch", "point"]),
        "self_training.threshold": FloatDistribution(0.0, 0.9),
    }


def until_it_starts(config: DistillConfig, space: Space) -> int:
    """Epochs before the earliest start, in which all trials are the same."""
    drawn = space.get("self_training.start")
    starts = drawn.choices if isinstance(drawn, CategoricalDistribution) else [config.self_training.start]
    return min((int(start) for start in starts if start is not None), default=0)


# Nothing can be said early of trials that are the same for most of their training.
SWEEP = Sweep(
    "self_training",
    "trainables.distill.task:DistillTask",
    PRESETS,
    space,
    shared=until_it_starts,
    preset="synthetic_half_taught",
    settings=SweepConfig(early_stopping=False),
)

if __name__ == "__main__":
    from sweeps.self_training import SWEEP

    main(SWEEP)
