"""Searches visual grounding: the weights of its losses, its candidates, and what they are worth to the student.

`python -m sweeps.ground [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.distributions import CategoricalDistribution, FloatDistribution

from scenelift.tune.command import main
from scenelift.tune.config import Sweep
from trainables.ground.config import PRESETS, GroundConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Distribution, Space


def space(config: GroundConfig) -> Space:
    """Only what is switched on; weights matter relative to each other, so they span an order of magnitude."""
    method = config.method
    found: dict[str, Distribution] = {}
    if method.mil != "off":
        found["loss.features"] = FloatDistribution(0.3, 6.0, log=True)
    if method.category != "off":
        found["loss.category"] = FloatDistribution(0.3, 6.0, log=True)
    if method.reconstruct:
        found["loss.reconstruction"] = FloatDistribution(0.3, 3.0, log=True)
        found["method.hard_candidate_fraction"] = CategoricalDistribution([0.125, 0.25, 0.5, 1.0])
    if method.distill:
        found["loss.distillation"] = FloatDistribution(0.3, 6.0, log=True)
    if method.reconstruct and method.distill:
        found["method.reward_power"] = CategoricalDistribution([1.0, 2.0, 4.0, 6.0])
    return {**found, "method.candidates": CategoricalDistribution([4, 8, 16])}


SWEEP = Sweep("ground", "trainables.ground.task:GroundTask", PRESETS, space)
"""Among true instances it is `--objective validation/accuracy`."""

if __name__ == "__main__":
    from sweeps.ground import SWEEP

    main(SWEEP)
