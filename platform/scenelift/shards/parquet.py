"""One shard: samples <-> a Parquet file whose footer describes its content and the job it belongs to.

Each sample is a row group of its own, because training reads single samples in random order: with groups of 4 to
8, reading one takes 3 to 5 times as long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from scenelift.io import storage
from scenelift.samples.kind import Kind, S

_METADATA = b"scenelift"
"""Key of the summary in a shard's footer."""


def encode(kind: Kind[S], samples: Sequence[S], summary: dict[str, Any]) -> pa.Buffer:
    """The Parquet file of the samples; the same bytes for the same samples and summary."""
    sink = pa.BufferOutputStream()
    compression = {
        _leaf(field.name, field.type): "zstd" if field.name in kind.compressed else "none"
        for field in kind.schema
    }
    with pq.ParquetWriter(
        sink, kind.schema, compression=compression, use_dictionary=False, write_statistics=False
    ) as writer:
        for sample in samples:
            writer.write_table(pa.Table.from_pylist([kind.to_row(sample)], schema=kind.schema))
        writer.add_key_value_metadata({_METADATA: json.dumps(summary).encode()})
    return sink.getvalue()


def _leaf(name: str, kind: pa.DataType) -> str:
    """Parquet's name for the values of a column."""
    return _leaf(f"{name}.list.element", kind.value_type) if pa.types.is_list(kind) else name


def read_summary(filesystem: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """The summary in a shard's footer; None if the file does not exist or is not a complete shard."""
    if not storage.exists(filesystem, path):
        return None
    try:
        with storage.explained(filesystem, path), filesystem.open_input_file(path) as source:
            metadata = pq.read_metadata(source).metadata or {}
    except pa.ArrowInvalid:
        return None
    return cast("dict[str, Any]", json.loads(metadata.get(_METADATA, b"{}")))
