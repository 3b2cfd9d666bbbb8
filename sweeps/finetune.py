"""Searches fine-tuning: learning rates of trunk and head, and how long.

`python -m sweeps.finetune [PRESET] --start runs/NAME/student --labels.fraction 0.01 [--trials N]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.distributions import CategoricalDistribution, FloatDistribution

from scenelift.tune.command import main
from scenelift.tune.config import Sweep
from trainables.finetune.config import PRESETS, FinetuneConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Space


def space(config: FinetuneConfig) -> Space:
    """Around the preset's rates and length; where steps are guaranteed, it is they that make the length."""
    rates = {"optimizer.lr": config.optimizer.lr}
    if config.optimizer.head_lr is not None:
        rates["optimizer.head_lr"] = config.optimizer.head_lr
    length, count = "loop.epochs", config.loop.epochs
    if config.min_steps:
        length, count = "min_steps", config.min_steps
    return {
        **{key: FloatDistribution(rate / 10, rate * 3, log=True) for key, rate in rates.items()},
        length: CategoricalDistribution(sorted({max(1, count // 2), count, 2 * count})),
    }


SWEEP = Sweep("finetune", "trainables.finetune.task:FinetuneTask", PRESETS, space)

if __name__ == "__main__":
    from sweeps.finetune import SWEEP

    main(SWEEP)
