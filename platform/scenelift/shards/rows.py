"""Reads single samples from shards, in this process. Ray's readers import this file too, so it stays light."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from scenelift.errors import ShardError, StorageError, first_line
from scenelift.io import storage
from scenelift.samples.kind import Kind, S

_AGAIN = "delete it and run the shard command again"


@dataclass(frozen=True)
class SampleFile:
    """A shard; its hash distinguishes it from an earlier one of the same name."""

    folder: str
    """Folder or URI."""
    name: str
    sha256: str
    samples: int

    def locate(self) -> tuple[pafs.FileSystem, str]:
        """Its file system and the path on it."""
        filesystem, folder = storage.resolve(self.folder)
        return filesystem, storage.join(folder, self.name)


Place = tuple[SampleFile, int]
"""Location of a sample: the shard and the row group in it."""


@functools.lru_cache(maxsize=1024)
def _footer(file: SampleFile) -> pq.FileMetaData:
    filesystem, path = file.locate()
    with storage.explained(filesystem, path), filesystem.open_input_file(path) as source:
        footer = pq.read_metadata(source)
    if footer.num_row_groups != file.samples or footer.num_rows != file.samples:
        raise pa.ArrowInvalid(
            f"it has {footer.num_rows} samples, and its folder's manifest says {file.samples}"
        )
    return footer


def read_rows(places: Sequence[Place]) -> pa.Table:
    """[len(places)] rows of samples, in the given order; ShardError for a damaged file."""
    return pa.concat_tables([_read_row(*place) for place in places])


def read_column(file: SampleFile, name: str) -> list[Any]:
    """[samples] a small column of a shard, without reading the rest; ShardError for a damaged file."""
    with _opened(file) as shard:
        values: list[Any] = shard.read([name], use_threads=False)[name].to_pylist()
        return values


def _read_row(file: SampleFile, row: int) -> pa.Table:
    with _opened(file) as shard:
        return shard.read_row_group(row, use_threads=False)


@contextmanager
def _opened(file: SampleFile) -> Iterator[pq.ParquetFile]:
    """A shard whose pages are compared with their checksums as they are read; ShardError for a damaged one."""
    filesystem, path = file.locate()
    try:
        with storage.explained(filesystem, path), filesystem.open_input_file(path) as source:
            footer = _footer(file)
            yield pq.ParquetFile(source, metadata=footer, pre_buffer=True, page_checksum_verification=True)
    except StorageError as error:
        raise ShardError(
            f"{error}; did the folder change while it was being read? If not, {_AGAIN}"
        ) from None
    except Exception as error:  # Arrow has many kinds, and Python's own come from names and texts
        raise ShardError(f"{path} is damaged: {first_line(error)}; {_AGAIN}") from None


def to_samples(table: pa.Table, kind: Kind[S]) -> list[S]:
    """Rows as samples; their arrays are read-only views of the table's memory."""
    batches = table.to_batches()  # indexing a chunked column would search every chunk for the row
    return [_sample(batch, row, kind) for batch in batches for row in range(batch.num_rows)]


def _sample(batch: pa.RecordBatch, row: int, kind: Kind[S]) -> S:
    try:
        return kind.from_row(_row(batch, row))
    except Exception as error:  # each kind reads its rows in its own way
        token = batch["token"][row] if "token" in batch.schema.names else row
        reason = " ".join(str(error).split())[:200]
        raise ShardError(f"{kind.name} {token} is damaged ({reason}); make its shards again") from None


def _row(batch: pa.RecordBatch, row: int) -> dict[str, Any]:
    values = {name: batch[name][row] for name in batch.schema.names}
    return {
        name: value.as_buffer() if pa.types.is_binary(value.type) and value.is_valid else value.as_py()
        for name, value in values.items()
    }
