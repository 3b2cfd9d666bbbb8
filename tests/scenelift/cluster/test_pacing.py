"""A stream that nobody takes from must leave the core to the training beside it."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import ray
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from scenelift.cluster import ray_internals

BLOCKS = 40
ROUNDS = 5


def _large(batch: dict[str, Any]) -> dict[str, Any]:
    return {"bytes": np.zeros((len(batch["id"]), 1 << 20), np.uint8)}


@pytest.mark.ray
@pytest.mark.internals
def test_a_loop_that_may_start_nothing_pauses_in_each_round(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: dict[int, list[float]] = defaultdict(list)
    step = StreamingExecutor._scheduling_loop_step

    def timed(executor: StreamingExecutor, state: Any) -> bool:
        times[id(executor)].append(time.monotonic())
        return step(executor, state)

    monkeypatch.setattr(StreamingExecutor, "_scheduling_loop_step", timed)
    dataset = ray.data.range(BLOCKS, override_num_blocks=BLOCKS).map_batches(_large, num_cpus=0.5)
    options = dataset.context.execution_options
    options.resource_limits = options.resource_limits.copy(cpu=0.1)  # none of its tasks may start
    ray_internals.pace(dataset.context)
    batches = iter(dataset.iter_batches(batch_size=1, prefetch_batches=0))
    next(batches)
    (mine,) = times.values()
    first, until = len(mine), time.monotonic() + 60
    while len(mine) <= first + ROUNDS and time.monotonic() < until:
        time.sleep(0.05)
    rounds = np.diff(mine[first : first + ROUNDS + 1])
    assert len(rounds) == ROUNDS, "the loop stands still"
    assert rounds.min() >= ray_internals.PAUSE  # a busy machine makes them longer, never shorter
