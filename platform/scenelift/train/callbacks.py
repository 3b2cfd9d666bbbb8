"""The callbacks of trainings: metrics, averaged weights, profiles, validation, early stopping, checkpoints."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.profiler import profile

from scenelift.errors import ConfigError, TrainingError
from scenelift.io import folders, storage
from scenelift.train.preflight import Measuring
from scenelift.train.state import Callback, TrainState


def choose(state: TrainState) -> list[Callback]:
    """The callbacks of every training, those that its config switches on, and those of its method. The average
    comes before what measures and validates it, the validation before what uses its scores."""
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


class Losses(Callback):
    """Logs means every `loop.log_every` steps and before a checkpoint; ends a training whose loss is not finite."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self._logged: list[float] = []  # total losses since the last checkpoint
        self._clear()

    def _clear(self) -> None:
        self._rows: list[tuple[dict[str, Tensor], tuple[str, ...]]] = []  # a row per micro-batch that counts
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
        values["learning_rate"] = float(state.schedule.get_last_lr()[0])
        values["frames_per_second"] = self._steps * state.worker.plan.loop.batch / seconds
        values["data_wait"] = self._waited / seconds
        for each in state.callbacks:
            each.on_log(values)
        state.post("metrics", seconds=seconds, values=values)
        self._clear()

    def _means(self) -> dict[str, float]:
        """Means over all ranks; TrainingError with the samples if a loss of this rank was not finite."""
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


class Average(Callback):
    """An exponential moving average of weights and running statistics, with the decay `loop.watch.ema`. It is
    validated and saved as the student of checkpoints; the raw weights are in their training state."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        update = get_ema_multi_avg_fn(state.worker.plan.loop.watch.ema)
        self.average = AveragedModel(state.method.student, multi_avg_fn=update, use_buffers=True)
        state.student = self.average.module

    def on_step(self) -> None:
        self.average.update_parameters(self.state.method.student)

    def on_epoch(self) -> None:
        # Without synchronized batch norm, ranks have different statistics; rank 0's are saved.
        if self.state.worker.plan.workers > 1:
            for buffer in self.average.module.buffers():
                torch.distributed.broadcast(buffer, 0)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": int(self.average.n_averaged)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.average.module.load_state_dict(self.state.method.student.state_dict())
        self.average.n_averaged.fill_(saved["updates"])


class Profiler(Callback):
    """Traces the steps `loop.watch.profile` of rank 0 into `profile-A-B.json` beside the checkpoints' folder."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self.steps = state.worker.plan.loop.watch.profiled
        self._profile: profile | None = None

    def on_start(self) -> None:
        if self.steps.start >= self.state.worker.plan.steps:
            raise ConfigError(
                f"loop.watch.profile begins at step {self.steps.start} of {self.state.worker.plan.steps}; "
                "give earlier steps"
            )
        self.on_step()

    def on_step(self) -> None:
        inside = self.state.done in self.steps and self.state.worker.rank == 0
        if inside and self._profile is None:
            self._profile = profile()
            self._profile.start()
        elif not inside:
            self.on_end()

    def on_end(self) -> None:
        if self._profile is None:
            return
        self._profile.stop()
        run = storage.split(self.state.worker.checkpoints.folder)[0]
        name = f"profile-{self.steps.start}-{self.steps.stop}.json"
        with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
            self._profile.export_chrome_trace(str(Path(folder) / name))
            folders.upload(Path(folder) / name, storage.join(run, name))
        self._profile = None


class Validation(Callback):
    """Scores the student after each epoch that `validation.every` names."""

    def on_epoch(self) -> None:
        worker, plan = self.state.worker, self.state.worker.plan
        assert worker.validate is not None
        epoch = self.state.done // plan.steps_per_epoch
        self.state.scores = worker.validate(self.state.student, epoch, plan.loop.epochs)


def watched(state: TrainState) -> float | None:
    """The score of `loop.watch.metric`; None without a validation, ConfigError if it has no such score."""
    scores, metric = state.scores, state.worker.plan.loop.watch.metric
    if not scores:
        return None
    if metric is not None and metric not in scores:
        raise ConfigError(f"validation does not measure loop.watch.metric {metric}, only {', '.join(scores)}")
    return scores[metric or next(iter(scores))]


class EarlyStopping(Callback):
    """Ends the training after `loop.watch.early_stopping` validations in a row that were not the best."""

    def __init__(self, state: TrainState) -> None:
        super().__init__(state)
        self.best, self.stale = -math.inf, 0

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self.stale >= self.state.worker.plan.loop.watch.early_stopping

    def on_start(self) -> None:
        self.state.stopped |= self.over

    def on_epoch(self) -> None:
        value = watched(self.state)
        if value is None:
            return
        self.stale = 0 if value > self.best else self.stale + 1
        self.best = value if self.stale == 0 else self.best
        self.state.stopped |= self.over
        self.state.save_due |= self.over

    def on_end(self) -> None:
        if self.over and self.state.done < self.state.worker.plan.steps:
            self.state.post("stopped", best=self.best, validations=self.stale)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "stale": self.stale}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.best, self.stale = saved["best"], saved["stale"]


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


class Reports(Callback):
    """Reports validated epochs, and else one in `loop.log_every` steps: a report makes all ranks wait."""

    def on_step_end(self) -> None:
        state, plan = self.state, self.state.worker.plan
        before, every = state.done - plan.steps_per_epoch, plan.loop.log_every
        due = bool(state.scores) or state.done // every > before // every or state.done == plan.steps
        if state.done % plan.steps_per_epoch or not due:
            return
        epoch = state.done // plan.steps_per_epoch
        percent = 100.0 if state.stopped else 100 * epoch / plan.loop.epochs
        values = {"epoch": epoch, "percent": percent, "loss": state.loss, **state.scores}
        state.post("epoch", values=values)
        state.worker.report({"step": state.done, **values})
