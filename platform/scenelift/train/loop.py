"""The one training loop of all methods: devices, precision, accumulation, checkpoints, resume, reports.

`train` runs in every worker and knows no Ray; `train.launch` starts the workers. No method is named here.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scenelift.errors import ConfigError, StorageError, TrainingError
from scenelift.train import preflight
from scenelift.train.checkpoints import Checkpoints, read_state
from scenelift.train.config import OptimizerConfig
from scenelift.train.method import Batch, Method, Progress, Trained
from scenelift.train.optimizer import build_optimizer, lr_factor
from scenelift.train.plan import Plan
from scenelift.train.random_states import random_state, restore_random_state

Event = dict[str, Any]


@dataclass
class Worker:
    """What one process of a training is given."""

    plan: Plan
    optimizer: OptimizerConfig
    checkpoints: Checkpoints
    collate: Callable[[Sequence[Any], int], Batch]
    """(samples, epoch) -> a batch."""
    stream: Callable[[NDArray[np.int64], Callable[[list[Any], int], Batch], int], Iterator[Batch]]
    """Sample indices, a function of (samples, batch number), batch size -> batches: `Samples.stream`."""
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    post: Callable[[Event], None] = lambda event: None
    """Takes events for the driver; called on rank 0 only."""
    validate: Callable[[nn.Module, int, int], dict[str, float]] | None = None
    """(student, epochs done, epochs to do in all) -> metrics by name, the same on all ranks."""
    report: Callable[[dict[str, float]], None] = lambda metrics: None
    """Called by every rank at the end of each epoch, and not again within `loop.log_every` steps: Ray Train lets
    all ranks wait for its controller, a fifth of a second."""


def train(method: Method, worker: Worker) -> None:
    """Train `method.student` from the newest checkpoint, or from its start, to the end of the plan.

    With `loop.preflight_steps` it only measures as many steps. Raises ClusterError or StorageError, with what
    to change, as soon as the first steps show that memory or disk are too small.
    """
    with preflight.memory_errors(worker.device, worker.plan.smaller):
        _train(_State(method, worker), worker)


def _train(state: _State, worker: Worker) -> None:
    start = state.restore()
    plan, loop = worker.plan, worker.plan.loop
    measured = loop.preflight_steps or preflight.MEASURED
    if loop.preflight_steps > plan.steps - start:
        raise ConfigError(
            f"the run has {plan.steps - start} steps to go, less than loop.preflight_steps "
            f"{loop.preflight_steps}; lower it or train at once"
        )
    if worker.rank == 0:
        scale = {"workers": plan.workers, "rounds": plan.rounds}
        worker.post({"kind": "start", "step": start, "steps": plan.steps, **scale})
    watch = preflight.Stopwatch(start, start + measured, preflight.clock(worker.device))
    batches = _batches(worker, start)
    reported = start
    for step in range(start, plan.steps):
        state.step(step, batches)
        done = step + 1
        seconds = watch.lap(done)
        if loop.preflight_steps:
            if seconds is not None:
                state.estimate(done, plan.steps - start, seconds)
                return
            continue
        if done % loop.log_every == 0 or done == plan.steps:
            state.log(done)
        if plan.saved(done):
            state.save(done)
        if seconds is not None and done < plan.steps:
            state.estimate(done, plan.steps - done, seconds)
        if done % plan.steps_per_epoch == 0 and (done >= reported + loop.log_every or done == plan.steps):
            reported = done
            state.end_epoch(done)


class _State:
    """Everything of a running training that changes, and that a checkpoint holds."""

    def __init__(self, method: Method, worker: Worker) -> None:
        loop, plan = worker.plan.loop, worker.plan
        self.worker, self.method = worker, method.to(worker.device).train()
        if loop.precision == "float16" and worker.device.type != "cuda":
            raise ConfigError("float16 needs a GPU; set loop.precision to float32 or bfloat16")
        if plan.workers > 1 and worker.device.type == "cuda":
            method.student = nn.SyncBatchNorm.convert_sync_batchnorm(method.student)
        self.optimizer = build_optimizer(worker.optimizer, method.student)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: lr_factor(worker.optimizer, step, plan.steps_per_epoch, loop.epochs)
        )
        self.scaler = torch.amp.GradScaler(worker.device.type, enabled=loop.precision == "float16")
        self.model: nn.Module = method
        if plan.workers > 1:
            self.model = DistributedDataParallel(method)
        self.window: list[tuple[dict[str, Tensor], tuple[str, ...]]] = []  # a row for each that counts
        self.steps = 0  # in the window
        self.epoch_losses: list[float] = []
        self.waited = self.since = 0.0
        self.loss = math.inf
        self.unwritten = False  # whether the newest checkpoint could not be written
        torch.manual_seed(loop.seed * 1009 + worker.rank)

    def step(self, step: int, batches: Iterator[Batch]) -> None:
        """One optimizer step: this worker's turns of the plan."""
        loop, plan, device = self.worker.plan.loop, self.worker.plan, self.worker.device
        progress = Progress(step, step // plan.steps_per_epoch, loop.epochs)
        self.since = self.since or time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        turns = plan.turns(self.worker.rank)
        for number, (_, counts) in enumerate(turns, 1):
            began = time.perf_counter()
            batch = next(batches)
            self.waited += time.perf_counter() - began
            sync = self._unsynchronized() if number < len(turns) else contextlib.nullcontext()
            with sync:
                with torch.autocast(device.type, _DTYPES[loop.precision], loop.precision != "float32"):
                    losses = self.model(batch.to(device), progress)
                total = self._total(losses)
                # Workers' gradients are averaged, so that this makes the mean over all parts.
                self.scaler.scale(total * (counts * plan.workers / plan.parts)).backward()
            if counts:
                self.window.append(({**losses, "total": total}, batch.tokens))
        self.steps += 1
        self._update()

    def _unsynchronized(self) -> Any:
        """Gradients of all but the last micro-batch stay on their rank."""
        distributed = isinstance(self.model, DistributedDataParallel)
        return cast(Any, self.model).no_sync() if distributed else contextlib.nullcontext()

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        wrong = [name for name, loss in losses.items() if loss.dtype != torch.float32]
        assert not wrong, f"losses are float32, unlike {wrong}"
        weights = self.method.weights
        assert losses.keys() == weights.keys(), f"losses {set(losses)} but weights for {set(weights)}"
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    def _update(self) -> None:
        if self.worker.optimizer.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.method.student.parameters(), self.worker.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()

    def log(self, done: int) -> None:
        """Send the means since the last call; TrainingError with the frames if a loss was not finite."""
        names = list(self.window[0][0])
        table = torch.stack([torch.stack([row[name].detach() for name in names]) for row, _ in self.window])
        bad = torch.nonzero(~torch.isfinite(table).all(1)).flatten().tolist()
        if bad:
            raise TrainingError(
                f"a loss is not finite before step {done} (rank {self.worker.rank}); "
                f"frames of the first bad batch: {', '.join(self.window[bad[0]][1])}; lower optimizer.lr"
            )
        total = table.sum(0)
        if self.worker.plan.workers > 1:
            torch.distributed.all_reduce(total)
        mean = total / (self.steps * self.worker.plan.parts)
        means = dict(zip(names, mean.tolist(), strict=True))
        self.epoch_losses.append(means["total"])
        self.loss = sum(self.epoch_losses) / len(self.epoch_losses)
        seconds = time.perf_counter() - self.since
        if self.worker.rank == 0:
            values = {f"loss/{name}": value for name, value in means.items()}
            values["learning_rate"] = self.schedule.get_last_lr()[0]
            values["frames_per_second"] = self.steps * self.worker.plan.loop.batch / seconds
            values["data_wait"] = self.waited / seconds
            self.worker.post({"kind": "metrics", "step": done, "seconds": seconds, "values": values})
        self.window, self.steps, self.waited, self.since = [], 0, 0.0, 0.0

    def save(self, done: int) -> None:
        """Write a checkpoint from rank 0; all ranks contribute their random states."""
        if self.window:
            self.log(done)
        states: list[Any] = [random_state()] * self.worker.plan.workers
        if self.worker.plan.workers > 1:
            torch.distributed.all_gather_object(states, random_state())
        if self.worker.rank == 0:
            self._write(done, states)
        self.epoch_losses = []

    def _write(self, done: int, states: list[Any]) -> None:
        """A checkpoint. One that cannot be written does not end the training; a second one in a row, or that of
        the last step, does."""
        state = {
            "step": done,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": states,
            "plan": {"frames": self.worker.plan.frames, "batch": self.worker.plan.loop.batch},
        }
        try:
            student = cast(Trained, self.method.student)
            checkpoint = self.worker.checkpoints.save(done, self.loss, student, state)
        except StorageError as error:
            if self.unwritten or done == self.worker.plan.steps:
                raise
            self.unwritten = True
            self.worker.post({"kind": "unwritten", "step": done, "why": str(error)})
        else:
            self.unwritten = False
            self.worker.post({"kind": "checkpoint", "step": done, "folder": checkpoint.folder})

    def end_epoch(self, done: int) -> None:
        """Validate, and say how the training stands."""
        worker, plan = self.worker, self.worker.plan
        epoch = done // plan.steps_per_epoch
        values = {"epoch": epoch, "percent": 100 * epoch / plan.loop.epochs, "loss": self.loss}
        if worker.validate is not None:
            values |= worker.validate(self.method.student, epoch, plan.loop.epochs)
        if worker.rank == 0:
            worker.post({"kind": "epoch", "step": done, "values": values})
        worker.report({"step": done, **values})

    def estimate(self, done: int, to_come: int, seconds: float) -> None:
        """Say what the last `to_come` steps take, at so many seconds each; refuse what cannot fit."""
        worker, plan = self.worker, self.worker.plan
        if worker.rank == 0:
            estimate = preflight.Estimate.take(
                worker.device,
                worker.checkpoints,
                self.method.student.state_dict(),
                self.optimizer.state_dict(),
                to_come,
                seconds,
                plan.saves(plan.steps - to_come),
            )
            worker.post({"kind": "estimate", "step": done, "values": asdict(estimate)})
            estimate.require(worker.checkpoints.workplace, plan.smaller)

    def _load_optimizer(self, optimizer: dict[str, Any], schedule: dict[str, Any]) -> None:
        """Moments and position of the checkpoint; rates and decay are the config's, which may have changed."""
        wanted = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        rates = self.schedule.base_lrs
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict({**schedule, "base_lrs": rates})
        for group, settings, rate in zip(self.optimizer.param_groups, wanted, rates, strict=True):
            factor = self.schedule.lr_lambdas[0](self.schedule.last_epoch)
            group.update({**settings, "lr": rate * factor})

    def restore(self) -> int:
        """Continue from the newest checkpoint; returns the optimizer steps already done."""
        checkpoint = self.worker.checkpoints.latest()
        if checkpoint is None:
            return 0
        with checkpoint.fetched() as folder:
            return self._restore(folder, checkpoint.folder)

    def _restore(self, folder: Path, place: str) -> int:
        saved, trained = read_state(folder), cast(Trained, self.method.student)
        plan = {"frames": self.worker.plan.frames, "batch": self.worker.plan.loop.batch}
        if saved["plan"] != plan:
            raise TrainingError(
                f"{place} was trained with {saved['plan']}, now {plan}: the data position would "
                "not fit; give the run a new name"
            )
        trained.restore(folder)
        self._load_optimizer(saved["optimizer"], saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.worker.rank < len(saved["random"]):
            restore_random_state(saved["random"][self.worker.rank])
        return int(saved["step"])


_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def _batches(worker: Worker, start: int) -> Iterator[Batch]:
    """Batches from optimizer step `start` to the end; each is collated for the epoch it belongs to."""
    plan = worker.plan
    per_epoch = plan.steps_per_epoch * plan.rounds
    first = start * plan.rounds

    def collate(samples: list[Any], number: int) -> Batch:
        return worker.collate(samples, (first + number) // per_epoch)

    return worker.stream(plan.indices(start, worker.rank), collate, plan.micro)
