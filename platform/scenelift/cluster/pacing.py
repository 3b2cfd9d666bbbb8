"""Keeps Ray Data's scheduling loop from spinning beside a training."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback

if TYPE_CHECKING:
    from ray.data import DataContext
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

PAUSE = 0.05
"""Seconds; a block that is ready may lie as long."""


class _Pace(ExecutionCallback):
    """Ray 2.60 waits for the tasks of a dataset that run. Where none runs and none may start, for want of a CPU or
    of room, its loop goes round without a pause, in a thread of the process that trains."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Called at the end of each round."""
        time.sleep(PAUSE)


def pace(context: DataContext) -> None:
    """Give the loop of this context's datasets a pause in each round."""
    context.custom_execution_callback_classes = [_Pace]
