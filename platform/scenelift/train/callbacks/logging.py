"""Metrics of the steps since they were logged last: losses, speed, norms of gradients."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from scenelift.errors import TrainingError
from scenelift.train.state import Callback, TrainState


class Losses(Callback):
    """Logs means every `loop.log_every` steps and before a checkpoint; ends a training whose loss is not finite."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self._logged: list[float] = []  # total losses since the checkpoint before
        self._clear()

    def _clear(self) -> None:
        self._rows: list[
            tuple[dict[str, Tensor], tuple[str, ...]]
        ] = []  # one for each micro-batch that counts
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    def on_step(self) -> None:
        state, plan = self.state, self.state.worker.plan
        self._rows += state.losses
        self._steps += 1
        self._seconds += state.seconds
        self._waited += state.waited
        if state.done % plan.loop.log_every == 0 or state.done == plan.steps:
            self._log()

    def on_checkpoint(self) -> None:
        if self._rows:
            self._log()
        self._logged = []

    def _log(self) -> None:
        state, began = self.state, time.perf_counter()
        means = self._means()
        self._logged.append(means["total"])
        state.loss = sum(self._logged) / len(self._logged)
        seconds = self._seconds + time.perf_counter() - began  # the device may have lagged behind
        values = {f"loss/{name}": value for name, value in means.items()}
        values["learning_rate"] = state.schedule.get_last_lr()[0]
        values["frames_per_second"] = self._steps * state.worker.plan.loop.batch / seconds
        values["data_wait"] = self._waited / seconds
        for each in state.callbacks:
            each.on_log(values)
        state.post("metrics", seconds=seconds, values=values)
        self._clear()

    def _means(self) -> dict[str, float]:
        """Over all ranks; TrainingError with the samples if a loss of this one was not finite."""
        worker, names = self.state.worker, list(self._rows[0][0])
        table = torch.stack([torch.stack([row[name].detach() for name in names]) for row, _ in self._rows])
        bad = torch.nonzero(~torch.isfinite(table).all(1)).flatten().tolist()
        if bad:
            raise TrainingError(
                f"a loss is not finite before step {self.state.done} (rank {worker.rank}); "
                f"frames of the first bad batch: {', '.join(self._rows[bad[0]][1])}; lower optimizer.lr"
            )
        total = table.sum(0)
        if worker.plan.workers > 1:
            torch.distributed.all_reduce(total)
        mean = total / (self._steps * worker.plan.parts)
        return dict(zip(names, mean.tolist(), strict=True))


class GradientNorm(Callback):
    """Adds the mean norm of the student's gradients, without those that float16 could not hold."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self._norms: list[Tensor] = []

    def on_gradients(self) -> None:
        parameters = self.state.method.student.parameters()
        gradients = [each.grad for each in parameters if each.grad is not None]
        self._norms.append(torch.nn.utils.get_total_norm(gradients))

    def on_log(self, values: dict[str, float]) -> None:
        norms = torch.stack(self._norms)
        finite = norms[torch.isfinite(norms)]
        if len(finite):
            values["gradient_norm"] = float(finite.mean())
        self._norms = []
