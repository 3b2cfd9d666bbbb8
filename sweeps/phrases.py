"""Searches CKD's two losses: their temperatures, and how fast and how far distillation's weight grows.

`python -m sweeps.phrases [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.distributions import CategoricalDistribution, FloatDistribution

from scenelift.tune.command import main
from scenelift.tune.config import Sweep
from trainables.phrases.config import PRESETS, PhrasesConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Distribution, Space


def space(config: PhrasesConfig) -> Space:
    """What the losses in use have; temperatures span orders of magnitude."""
    searched: dict[str, Distribution] = {"optimizer.lr": FloatDistribution(3e-5, 1e-2, log=True)}
    if config.contrast.form != "none":
        searched["contrast.logit_scale"] = FloatDistribution(1.0, 30.0, log=True)
    if config.contrast.form == "margin":
        searched["contrast.margin"] = FloatDistribution(0.05, 2.0, log=True)
    if config.distillation.support != "none":
        searched["distillation.max_weight"] = FloatDistribution(0.1, 5.0, log=True)
        searched["distillation.student_temperature"] = FloatDistribution(0.03, 1.0, log=True)
        searched["distillation.teacher"] = CategoricalDistribution(["belief", "log belief"])
    return searched


SWEEP = Sweep("phrases", "trainables.phrases.task:PhrasesTask", PRESETS, space)

if __name__ == "__main__":
    from sweeps.phrases import SWEEP

    main(SWEEP)
