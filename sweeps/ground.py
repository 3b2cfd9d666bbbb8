"""Searches visual grounding: the weights of its losses, its candidates, and what they are worth to the student.

`python -m sweeps.ground [PRESET] [--trials N] [--group.field VALUE ...]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scenelift.tune.sweep import Sweep
from trainables.ground.config import PRESETS, GroundConfig

if TYPE_CHECKING:
    from scenelift.tune.space import Space


def space(config: GroundConfig) -> Space:
    """Only what is switched on; weights matter relative to each other, so they span an order of magnitude."""
    from ray import tune

    method, found = config.method, {}
    if method.mil != "off":
        found["loss.features"] = tune.loguniform(0.3, 6.0)
    if method.category != "off":
        found["loss.category"] = tune.loguniform(0.3, 6.0)
    if method.reconstruct:
        found["loss.reconstruction"] = tune.loguniform(0.3, 3.0)
        found["method.hard_candidate_fraction"] = tune.choice([0.125, 0.25, 0.5, 1.0])
    if method.distill:
        found["loss.distillation"] = tune.loguniform(0.3, 6.0)
    if method.reconstruct and method.distill:
        found["method.reward_power"] = tune.choice([1.0, 2.0, 4.0, 6.0])
    return {**found, "method.candidates": tune.choice([4, 8, 16])}


SWEEP = Sweep("ground", "trainables.ground.task:GroundTask", PRESETS, space)
"""Among true instances it is `--objective validation/accuracy`."""

if __name__ == "__main__":
    from sweeps.ground import SWEEP

    SWEEP.main()
