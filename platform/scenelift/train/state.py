"""A training while it runs: what changes with each step, what a checkpoint holds, and who is told of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scenelift.errors import ConfigError, StorageError, TrainingError
from scenelift.io import folders
from scenelift.sparse.layers import use_tf32
from scenelift.train import watch
from scenelift.train.checkpoints import Checkpoints, read_state
from scenelift.train.config import SMALLER_SAMPLES, OptimizerConfig
from scenelift.train.method import Batch, Method, Progress, Trained
from scenelift.train.optimizer import build_optimizer, lr_factor
from scenelift.train.plan import Plan

Event = dict[str, Any]


@dataclass
class Worker:
    """What one process of a training is given; `Job` says more of what it shares with it."""

    plan: Plan
    optimizer: OptimizerConfig
    checkpoints: Checkpoints
    collate: Callable[[Sequence[Any], int], Batch]
    stream: Callable[[NDArray[np.int64], Callable[[list[Any], int], Batch], int], Iterator[Batch]]
    """Sample indices, a function of (samples, batch number), batch size -> batches: `Samples.stream`."""
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    post: Callable[[Event], None] = lambda event: None
    """Takes events for the driver; called on rank 0 only."""
    validate: Callable[[nn.Module, int, int], dict[str, float]] | None = None
    """(student, epochs done, epochs to do in all) -> metrics by name, the same on all ranks; none where none are
    due. Called at the end of every epoch."""
    report: Callable[[dict[str, float]], None] = lambda metrics: None
    """Called by every rank at the end of epochs, those that were validated and else one in `loop.log_every` steps:
    Ray Train lets all ranks wait for its controller, a fifth of a second."""
    beat: Callable[[int, str], None] = lambda step, doing: None
    """Told what this process does now (`train.watch`), and at which step; called on every rank."""
    stopping: Callable[[], bool] = lambda: False
    """Whether the driver wants the training to stop; called on rank 0 only."""
    smaller_samples: str = SMALLER_SAMPLES
    callbacks: Sequence[Callable[[TrainState], Callback]] = ()


class Callback:
    """Something that a training does beside its steps.

    Every rank has the same callbacks and calls them in the same order, so that they may talk to each other.
    What a later step depends on belongs into `state_dict`: a training that goes on must end as if it had not
    been broken.
    """

    def __init__(self, state: TrainState) -> None:
        self.state = state

    def on_start(self) -> None:
        """The training is restored, and no step is done yet."""

    def on_gradients(self) -> None:
        """A step's gradients are there: summed, unscaled, not yet clipped."""

    def on_step(self) -> None:
        """An optimizer step is done."""

    def on_log(self, values: dict[str, float]) -> None:
        """Metrics are about to be logged: add to them."""

    def on_epoch(self) -> None:
        """The step was the last of an epoch. Comes before the checkpoint of that step, which must know of it."""

    def on_checkpoint(self) -> None:
        """A checkpoint is about to be written."""

    def on_step_end(self) -> None:
        """Everything that belongs to the step is done and saved."""

    def on_end(self) -> None:
        """The training has come to its end, or to where it was to stop."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors that a checkpoint keeps."""
        return {}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; `method.student` has the weights of the checkpoint's student folder."""


class TrainState:
    """Everything of a running training that changes, and that a checkpoint holds."""

    def __init__(self, method: Method, worker: Worker) -> None:
        loop, plan = worker.plan.loop, worker.plan
        self.worker, self.method = worker, method.to(worker.device).train()
        use_tf32(loop.precision == "tf32")
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
            self.model = DistributedDataParallel(
                method,
                # On GPUs the norms are synchronized, so that all ranks have the same buffers anyway.
                broadcast_buffers=worker.device.type == "cpu",
                gradient_as_bucket_view=True,
            )
        self.callbacks: list[Callback] = []
        self.done = 0
        """Optimizer steps."""
        self.stopped = False
        """Whether no further step is wanted."""
        self.student: nn.Module = method.student
        """What is validated and saved: the student that is trained, or what a callback made of it."""
        self.loss = math.inf
        """Mean training loss that was logged since the checkpoint before."""
        self._unwritten = False  # whether the newest checkpoint could not be written
        self._forget()
        torch.manual_seed(loop.seed * 1009 + worker.rank)

    def _forget(self) -> None:
        """What is true of one step only."""
        self.losses: list[tuple[dict[str, Tensor], tuple[str, ...]]] = []
        """Of each micro-batch that counts: losses by name, and the samples."""
        self.seconds = self.waited = 0.0
        """That the step took, and of these waiting for data."""
        self.scores: dict[str, float] = {}
        """What validation found after the step."""
        self.score: float | None = None
        """The one of them that checkpoints are compared by."""
        self.save_due = False
        """Whether a checkpoint is written after the step."""

    def post(self, kind: str, **values: Any) -> None:
        """Send an event to the driver, from rank 0."""
        if self.worker.rank == 0:
            self.worker.post({"kind": kind, "step": self.done, **values})

    @property
    def device(self) -> str:
        """What this worker computes on, and in which arithmetic."""
        device, precision = self.worker.device, self.worker.plan.loop.precision
        if device.type == "cuda":
            return f"{torch.cuda.get_device_name(device)}, {precision}"
        threads = torch.get_num_threads()
        named = "1 thread" if threads == 1 else f"{threads} threads"
        return f"CPU with {named}, {precision.replace('tf32', 'float32')}"

    def advance(self, batches: Iterator[Batch]) -> None:
        """One optimizer step: this worker's turns of the plan."""
        loop, plan, device = self.worker.plan.loop, self.worker.plan, self.worker.device
        self._forget()
        progress = Progress(self.done, self.done // plan.steps_per_epoch, loop.epochs)
        began = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        turns = plan.turns(self.worker.rank)
        for number, (_, counts) in enumerate(turns, 1):
            asked = time.perf_counter()
            self.worker.beat(self.done, watch.READING)
            batch = next(batches)
            self.worker.beat(self.done, watch.COMPUTING)
            self.waited += time.perf_counter() - asked
            # Gradients of all but the last micro-batch stay on their rank.
            apart = isinstance(self.model, DistributedDataParallel) and number < len(turns)
            with cast(Any, self.model).no_sync() if apart else contextlib.nullcontext():
                with torch.autocast(device.type, _HALVES.get(loop.precision), loop.precision in _HALVES):
                    losses = self.model(batch.to(device), progress)
                total = self._total(losses)
                # Workers' gradients are averaged, so that this makes the mean over all parts.
                self.scaler.scale(total * (counts * plan.workers / plan.parts)).backward()
            if counts:
                self.losses.append(({**losses, "total": total}, batch.tokens))
        self._update()
        self.done += 1
        self.worker.beat(self.done, watch.AFTER)
        self.seconds = time.perf_counter() - began

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        wrong = [name for name, loss in losses.items() if loss.dtype != torch.float32]
        assert not wrong, f"losses are float32, unlike {wrong}"
        weights = self.method.weights
        assert losses.keys() == weights.keys(), f"losses {set(losses)} but weights for {set(weights)}"
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        for each in self.callbacks:
            each.on_gradients()
        if self.worker.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.method.student.parameters(), self.worker.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()

    def save(self) -> None:
        """Write a checkpoint from rank 0; all ranks contribute their random states."""
        states: list[Any] = [random_state(self.worker.device)] * self.worker.plan.workers
        if self.worker.plan.workers > 1:
            torch.distributed.all_gather_object(states, states[0])
        if self.worker.rank == 0:
            self._write(states)

    def _write(self, states: list[Any]) -> None:
        """A checkpoint. One that cannot be written does not end the training; a second one in a row, or that of
        the last step, does."""
        worker = self.worker
        try:
            student = cast(Trained, self.student)
            saved = worker.checkpoints.save(self.done, student, self._state_dict(states), self.score)
        except StorageError as error:
            if self._unwritten or self.stopped or self.done == worker.plan.steps:
                raise
            self._unwritten = True
            self.post("unwritten", why=str(error))
        else:
            self._unwritten = False
            self.post("checkpoint", folder=saved.folder)

    def _state_dict(self, states: list[Any]) -> dict[str, Any]:
        """What a checkpoint holds beside the student."""
        kept = {type(each).__name__: each.state_dict() for each in self.callbacks}
        return {
            "step": self.done,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": states,
            "plan": self._plan,
            "callbacks": {name: state for name, state in kept.items() if state},
            **({"student": self.method.student.state_dict()} if self.replaced else {}),
        }

    @property
    def replaced(self) -> bool:
        """Whether what is saved as the student is not what is trained, whose weights are then kept besides."""
        return self.student is not self.method.student

    @property
    def _plan(self) -> dict[str, int]:
        return {"frames": self.worker.plan.frames, "batch": self.worker.plan.loop.batch}

    def restore(self) -> None:
        """Continue from the newest checkpoint whose files are as they were written, if there is one."""
        for checkpoint in reversed(self.worker.checkpoints.all()):
            with checkpoint.fetched() as folder:
                if folders.intact(folder):
                    self._load(checkpoint.folder, folder)
                    return
            self.post("damaged", folder=checkpoint.folder)

    def _load(self, place: str, folder: Path) -> None:
        """Take over a fetched checkpoint. place: where it lies."""
        saved = read_state(folder)
        if saved["plan"] != self._plan:
            raise TrainingError(
                f"{place} was trained with {saved['plan']}, now {self._plan}: the data position would not fit; "
                "give the run a new name"
            )
        cast(Trained, self.method.student).restore(folder)
        for each in self.callbacks:
            if type(each).__name__ in saved["callbacks"]:
                each.load_state_dict(saved["callbacks"][type(each).__name__])
        if "student" in saved:
            self.method.student.load_state_dict(saved["student"])
        self._load_optimizer(saved["optimizer"], saved["schedule"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.worker.rank < len(saved["random"]):
            restore_random_state(saved["random"][self.worker.rank], self.worker.device)
        self.done = int(saved["step"])

    def _load_optimizer(self, optimizer: dict[str, Any], schedule: dict[str, Any]) -> None:
        """Moments and position of the checkpoint; rates and decay are the config's, which may have changed."""
        wanted = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        rates = self.schedule.base_lrs
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict({**schedule, "base_lrs": rates})
        for group, settings, rate in zip(self.optimizer.param_groups, wanted, rates, strict=True):
            factor = self.schedule.lr_lambdas[0](self.schedule.last_epoch)
            group.update({**settings, "lr": rate * factor})


_HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of torch's generators that a worker draws from, loadable with weights_only."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Undo `random_state`, on any GPU if it was taken on one."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
