"""A trainable that trains nothing: its validation is a formula of its settings, and it can be told to misbehave.

`python -m tests.made.toy_sweep` is a sweep of it, as `python -m sweeps.NAME` is one of a real trainable.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from optuna.distributions import CategoricalDistribution, FloatDistribution

from scenelift.config.constraints import Settings
from scenelift.errors import TrainingError
from scenelift.evaluation.config import NO_VALIDATION, ValidationConfig
from scenelift.io import folders, storage
from scenelift.runs.config import DataConfig, RunConfig
from scenelift.runs.experiment import Observe, experiment
from scenelift.runs.folder import Run
from scenelift.tracking.config import TrackingConfig
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import LoopConfig, ScaleConfig
from scenelift.tune.command import main
from scenelift.tune.config import Sweep
from scenelift.tune.space import Space


@dataclass(frozen=True)
class ToyConfig(Settings):
    """A parabola whose top, 1, is at x = 0.7."""

    x: float = 0.2
    shape: str = "round"
    fault: str = "none"
    seconds: float = 0.0
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig(epochs=4)
    validation: ValidationConfig = NO_VALIDATION
    scale: ScaleConfig = ScaleConfig()
    tracking: TrackingConfig = TrackingConfig(system_metrics=0)
    run: RunConfig = RunConfig()


class ToyTask:
    """What a sweep asks of a task; nothing is read."""

    command = "toy"
    objectives: ClassVar = {"validation/miou": "the parabola", "validation/agreement": "never reported"}

    def __init__(self, config: ToyConfig) -> None:
        self.train = SimpleNamespace(path=config.data.train)

    def validation(self) -> Any:
        return None, SimpleNamespace(measure=SimpleNamespace(names=tuple(self.objectives)))


class ToySweep(Sweep):
    """Runs the toy instead of a training."""

    def train(self, config: ToyConfig, observe: Observe) -> None:
        """Grow by the parabola's value every epoch, from the newest checkpoint if there is one."""
        grow(config, observe)


def grow(config: ToyConfig, observe: Observe) -> None:
    """One run."""
    with experiment("toy", config, {"dataset": "toy"}, PRESETS, (), observe) as made:
        newest = Checkpoints(made.run.checkpoints).latest()
        first, grown = (1, 0.0) if newest is None else (newest.step + 1, newest.score)
        made.run.record({"kind": "begun", "step": first})
        for epoch in range(first, (config.loop.stop_after or config.loop.epochs) + 1):
            _misbehave(config.fault, made.run, epoch)
            time.sleep(config.seconds)
            grown += (1 - (config.x - 0.7) ** 2) / config.loop.epochs
            checkpoint = storage.join(made.run.checkpoints, f"step-{epoch:08d}")
            with folders.written(checkpoint, {"step": epoch, "score": grown}):
                pass
            name = "validation/agreement" if config.fault == "silent" else "validation/miou"
            values = {
                "epoch": epoch,
                "percent": 100 * epoch / config.loop.epochs,
                name: float("nan") if config.fault == "nan" else grown,
            }
            made.listen({"kind": "epoch", "step": epoch, "values": values})


def _misbehave(fault: str, run: Run, epoch: int) -> None:
    if fault == "raise" and epoch == 2:
        raise TrainingError("the toy broke")
    if fault == "once" and epoch == 2 and not (run.folder / "broken").exists():
        (run.folder / "broken").touch()
        raise TrainingError("the toy broke once")


def space(config: ToyConfig) -> Space:
    return {"x": FloatDistribution(0, 1), "shape": CategoricalDistribution(["round", "square"])}


PRESETS = {"synthetic": ToyConfig()}


def sweep(wanted: Any = space, shared: int = 0) -> Sweep:
    from tests.made import toy_sweep as toy  # by its name, also where this file is the main module

    task = "tests.made.toy_sweep:ToyTask"
    return toy.ToySweep("toy", task, toy.PRESETS, wanted, lambda config, space: shared)


def runs_of(folder: Path) -> dict[str, Run]:
    """The run folders of a sweep's trials by name."""
    return {path.name: Run(path) for path in sorted((folder / "trials").iterdir())}


if __name__ == "__main__":
    from tests.made.toy_sweep import sweep

    main(sweep())
