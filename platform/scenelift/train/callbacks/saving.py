"""When checkpoints are written: at regular steps, and where validation finds the best student so far."""

from __future__ import annotations

import math
from typing import Any

from scenelift.train.callbacks.validation import watched
from scenelift.train.state import Callback, TrainState


class SaveRegularly(Callback):
    """Every `loop.checkpoint_every` steps, or at the end of every epoch, and at the last step."""

    def on_step(self) -> None:
        self.state.save_due |= self.state.worker.plan.saved(self.state.done)


class KeepBest(Callback):
    """Writes a checkpoint, with its score, after a validation that is better than all before."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self.best = -math.inf

    def on_epoch(self) -> None:
        self.state.score = watched(self.state)
        if self.state.score is not None and self.state.score > self.best:
            self.best, self.state.save_due = self.state.score, True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.best = saved["best"]
