"""An exponential moving average of the student's weights, which takes the student's place outside of training."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scenelift.train.state import Callback, TrainState


class Average(Callback):
    """Averages weights and running statistics after each step, by `loop.watch.ema`.

    The average is validated and saved as the student of checkpoints; the weights that are trained are kept in
    their training state, so that training goes on to the last bit.
    """

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        decay = state.worker.plan.loop.watch.ema
        self.average = AveragedModel(
            state.method.student, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True
        )
        state.student = self.average.module

    def on_step(self) -> None:
        self.average.update_parameters(self.state.method.student)

    def on_epoch(self) -> None:
        # Without synchronized batch norm ranks have statistics of their own; what is saved are those of rank 0.
        if self.state.worker.plan.workers > 1:
            for buffer in self.average.module.buffers():
                torch.distributed.broadcast(buffer, 0)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": int(self.average.n_averaged)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.average.module.load_state_dict(self.state.method.student.state_dict())
        self.average.n_averaged.fill_(saved["updates"])
