"""Which callbacks a training has, in the order in which they are called."""

from __future__ import annotations

from scenelift.train.callbacks.average import Average
from scenelift.train.callbacks.metrics import GradientNorm, Losses
from scenelift.train.callbacks.profiler import Profiler
from scenelift.train.callbacks.saving import KeepBest, SaveRegularly
from scenelift.train.callbacks.validation import EarlyStopping, Reports, Validation
from scenelift.train.preflight import Measuring
from scenelift.train.state import Callback, TrainState


def choose(state: TrainState) -> list[Callback]:
    """Those of every training, those that its config switches on, and those of its method.

    The average is made before anything is measured and validated; the validation comes before who goes by it,
    and who says how an epoch ended comes last.
    """
    loop, watch = state.worker.plan.loop, state.worker.plan.loop.watch
    average = [Average(state)] if watch.ema else []
    if loop.preflight_steps:
        return [*average, Measuring(state)]
    return [
        *average,
        *([GradientNorm(state)] if watch.gradient_norm else []),
        *([Profiler(state)] if watch.profiled else []),
        Measuring(state),
        Losses(state),
        SaveRegularly(state),
        *([Validation(state)] if state.worker.validate is not None else []),
        *([EarlyStopping(state)] if watch.early_stopping else []),
        *([KeepBest(state)] if watch.keep_best else []),
        *(make(state) for make in state.worker.callbacks),
        Reports(state),
    ]
