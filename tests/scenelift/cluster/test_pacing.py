"""A stream that nobody takes from must leave the core to the training beside it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import ray

from scenelift.cluster.pacing import pace

WAIT = 2.0
BLOCKS = 40


def _large(batch: dict[str, Any]) -> dict[str, Any]:
    return {"bytes": np.zeros((len(batch["id"]), 1 << 20), np.uint8)}


@pytest.mark.ray
def test_a_loop_that_may_start_nothing_does_not_spin(ray_session: None) -> None:
    dataset = ray.data.range(BLOCKS, override_num_blocks=BLOCKS).map_batches(_large, num_cpus=0.5)
    options = dataset.context.execution_options
    options.resource_limits = options.resource_limits.copy(cpu=0.1)  # none of its tasks may start
    pace(dataset.context)
    batches = iter(dataset.iter_batches(batch_size=1, prefetch_batches=0))
    next(batches)
    time.sleep(1.0)
    began = time.process_time()
    time.sleep(WAIT)
    assert time.process_time() - began < 0.4 * WAIT
