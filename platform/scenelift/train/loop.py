"""The one training loop of all methods: steps, and callbacks around them, of which it knows none. `train` runs
in every worker and knows no Ray; `train.launch` starts the workers. No method is named here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scenelift.train import preflight
from scenelift.train.callbacks import choose
from scenelift.train.method import Batch, Method
from scenelift.train.state import TrainState, Worker


def train(method: Method, worker: Worker) -> None:
    """Train `method.student` from the newest checkpoint, or from its start, to the end of the plan, or measure
    `loop.preflight_steps`. Raises ClusterError or StorageError, with the fix, if memory or disk are too small."""
    with preflight.memory_errors(worker.device, preflight.smaller(worker.plan, worker.smaller_samples)):
        state = TrainState(method, worker)
        state.callbacks = choose(state)
        state.restore()
        for each in state.callbacks:
            each.on_start()
        plan = worker.plan
        state.post("start", steps=plan.steps, workers=plan.workers, rounds=plan.rounds, device=state.device)
        batches = _batches(worker, state.done)
        while state.done < plan.steps and not state.stopped:
            state.advance(batches)
            _after_step(state)
        for each in state.callbacks:
            each.on_end()


def _after_step(state: TrainState) -> None:
    for each in state.callbacks:
        each.on_step()
    if state.done % state.worker.plan.steps_per_epoch == 0:
        for each in state.callbacks:
            each.on_epoch()
    if state.save_due:
        for each in state.callbacks:
            each.on_checkpoint()
        state.save()
    for each in state.callbacks:
        each.on_step_end()


def _batches(worker: Worker, start: int) -> Iterator[Batch]:
    """Batches from optimizer step `start` to the end; each is collated for the epoch it belongs to."""
    plan = worker.plan
    per_epoch = plan.steps_per_epoch * plan.rounds
    first = start * plan.rounds

    def collate(samples: list[Any], number: int) -> Batch:
        return worker.collate(samples, (first + number) // per_epoch)

    return worker.stream(plan.indices(start, worker.rank), collate, plan.micro)
