"""A stream that nobody takes from must leave the core to the training beside it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
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
    steps: list[str] = []
    enough = threading.Event()
    step = StreamingExecutor._scheduling_loop_step

    def counted(executor: StreamingExecutor, state: Any) -> bool:
        steps.append("round")
        return step(executor, state)

    def paused(seconds: float) -> None:
        assert seconds == ray_internals.PAUSE
        steps.append("pause")
        if steps.count("pause") > ROUNDS:
            enough.set()
        threading.Event().wait(seconds)

    monkeypatch.setattr(StreamingExecutor, "_scheduling_loop_step", counted)
    monkeypatch.setattr(ray_internals, "time", SimpleNamespace(sleep=paused))
    dataset = ray.data.range(BLOCKS, override_num_blocks=BLOCKS).map_batches(_large, num_cpus=0.5)
    options = dataset.context.execution_options
    options.resource_limits = options.resource_limits.copy(cpu=0.1)  # none of its tasks may start
    ray_internals.pace(dataset.context)
    batches = iter(dataset.iter_batches(batch_size=1, prefetch_batches=0))
    next(batches)
    steps.clear()
    enough.clear()
    assert enough.wait(60), "the loop stands still"
    rounds = steps[: 2 * ROUNDS]
    assert {"".join(each) for each in zip(rounds[::2], rounds[1::2], strict=True)} <= {
        "roundpause",
        "pauseround",
    }
