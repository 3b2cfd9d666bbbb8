"""Searches CKD's two losses: their temperatures, and how fast and how far distillation's weight grows.

`python -m sweeps.phrases [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scenelift.tune.sweep import Sweep
from trainables.phrases.config import PRESETS, PhrasesConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Space


def space(config: PhrasesConfig) -> Space:
    """What the losses in use have; temperatures span orders of magnitude."""
    from ray import tune

    searched: dict[str, Any] = {"optimizer.lr": tune.loguniform(3e-5, 1e-2)}
    if config.contrast.form != "none":
        searched["contrast.logit_scale"] = tune.loguniform(1.0, 30.0)
    if config.contrast.form == "margin":
        searched["contrast.margin"] = tune.loguniform(0.05, 2.0)
    if config.distillation.support != "none":
        searched["distillation.max_weight"] = tune.loguniform(0.1, 5.0)
        searched["distillation.student_temperature"] = tune.loguniform(0.03, 1.0)
        searched["distillation.teacher"] = tune.choice(["belief", "log belief"])
    return searched


SWEEP = Sweep("phrases", "trainables.phrases.task:PhrasesTask", PRESETS, space)

if __name__ == "__main__":
    from sweeps.phrases import SWEEP

    SWEEP.main()
