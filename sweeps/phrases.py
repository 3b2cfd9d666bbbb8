"""Searches CKD's two losses: their temperatures, and how fast and how far distillation's weight grows.

`python -m sweeps.phrases [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ray import tune

from scenelift.errors import ConfigError
from scenelift.tune.config import SweepConfig
from scenelift.tune.search import Space
from scenelift.tune.sweep import Sweep
from trainables.phrases import method as phrases
from trainables.phrases.config import PhrasesConfig
from trainables.phrases.run import open_data
from trainables.phrases.validation import R1, hold_out_images


def space(config: PhrasesConfig) -> Space:
    """What the losses in use have; temperatures span orders of magnitude."""
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


def selecting(config: PhrasesConfig, images: int, objective: str) -> PhrasesConfig:
    """The config for a run that others are compared with: validated on one training image of so many, it leaves the
    test images alone. ConfigError for another objective, DataError if no training phrase has a box."""
    if objective != R1:
        raise ConfigError(f"phrases are judged by {R1}; leave --objective at it, not {objective}")
    train, _ = open_data(config.data)
    validation = replace(config.validation, holdout_every=images)
    hold_out_images(validation, train)
    data = replace(config.data, train=train.path, test=None)
    return replace(config, data=data, validation=validation)


SWEEP = Sweep("phrases", phrases, space, selecting, settings=SweepConfig(objective=R1))

if __name__ == "__main__":
    from sweeps.phrases import SWEEP

    SWEEP.main()
