"""Single samples of shards as a Ray Data source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from ray.data import Datasource, ReadTask

from scenelift.cluster import ray_internals
from scenelift.shards.rows import Place, read_rows

BLOCK_BYTES = 8 << 20
"""Bytes of one read task; Ray Data needs room for several blocks of every reader in its object store."""
CPUS = 0.5
"""CPUs that a read task requests: with half a CPU it still fits on a machine whose CPUs are nearly all taken."""
BLOCK_SAMPLES = 32
"""Upper bound for the samples of a block, however small they are: the first batch waits for the first block."""
_TASKS = 16
"""Lower bound for the number of tasks, given enough samples, so that all actors of a job have work."""


class ShardDatasource(Datasource):
    """Ray Data rows {"index" of the sample, "position" in the given order, columns...}, in blocks of about 8
    MiB."""

    def __init__(self, indices: NDArray[np.int64], places: Sequence[Place], sample_bytes: int) -> None:
        super().__init__()
        self._indices, self._places, self._sample_bytes = indices, places, max(1, sample_bytes)
        count = min(BLOCK_BYTES // self._sample_bytes, BLOCK_SAMPLES, -(-len(places) // _TASKS))
        self._starts = range(0, len(places), max(1, count))

    @property
    def tasks(self) -> int:
        """Number of read tasks, one per block."""
        return len(self._starts)

    def estimate_inmemory_data_size(self) -> int:
        """Total bytes of the rows."""
        return self._sample_bytes * len(self._places)

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """One task per block, whatever parallelism Ray Data suggests."""
        return [self._task(start) for start in self._starts]

    def _task(self, start: int) -> ReadTask:
        part = slice(start, start + self._starts.step)
        indices, places = self._indices[part], self._places[part]
        positions = np.arange(len(self._places))[part]

        def read() -> list[pa.Table]:
            table = read_rows(places).add_column(0, "position", pa.array(positions))
            return [table.add_column(0, "index", pa.array(indices))]

        return ray_internals.read_task(read, len(places), self._sample_bytes * len(places))
