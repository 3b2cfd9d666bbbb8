"""The least config of a run."""

from __future__ import annotations

from dataclasses import dataclass

from scenelift.config.constraints import Settings
from scenelift.runs.config import RunConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig


@dataclass(frozen=True)
class LeastConfig(Settings):
    """What every run's config has."""

    loop: LoopConfig = LoopConfig()
    tracking: TrackingConfig = TrackingConfig(experiment="tests", system_metrics=0)
    run: RunConfig = RunConfig()
