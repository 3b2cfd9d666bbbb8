"""Ways to break meshes, weights, checkpoints and shards."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load, save

from benchmarks.hostile.mutations import Change, Mutation, changed


def _vertex(value: float) -> Change:
    """The first coordinate of the first vertex of a binary mesh becomes another."""

    def change(data: bytes) -> bytes:
        start = data.index(b"end_header\n") + len(b"end_header\n")
        return data[:start] + struct.pack("<f", value) + data[start + 4 :]

    return change


def _replaced(old: str, new: str, most: int = -1) -> Change:
    return lambda data: data.replace(old.encode(), new.encode(), most)


def _counted(number: int) -> Change:
    return lambda data: re.sub(rb"vertex \d+", b"vertex %d" % number, data, count=1)


def _windows(data: bytes) -> bytes:
    head, end, body = data.partition(b"end_header\n")
    return (head + end).replace(b"\n", b"\r\n") + body


MESH: dict[str, Mutation] = {
    "no vertices": changed(_counted(0), "lost"),
    "one vertex": changed(_counted(1), "lost"),
    "10^18 vertices": changed(_counted(10**18), "lost"),
    "10^30 vertices": changed(_counted(10**30), "lost"),
    "minus one vertices": changed(_counted(-1), "lost"),
    "double": changed(_replaced("property float", "property double"), "lost"),
    "lists": changed(_replaced("property float x", "property list uchar float x"), "lost"),
    "no x": changed(_replaced("property float x\n", "property float a\n"), "lost"),
    "x twice": changed(_replaced("property float y\n", "property float x\n"), "lost"),
    "no color": changed(_replaced("uchar red", "uchar rot"), "lost"),
    "big endian": changed(_replaced("binary_little", "binary_big"), "lost"),
    "text": changed(_replaced("binary_little_endian", "ascii"), "lost"),
    "of clay": changed(_replaced("binary_little_endian", "clay"), "lost"),
    "faces first": changed(_replaced("element vertex", "element face", 1), "lost"),
    "a long comment": changed(_replaced("\n", "\ncomment " + "c" * 1_000_000 + "\n", 1), "same"),
    "no end": changed(_replaced("end_header", "end_headar"), "lost"),
    "windows": changed(_windows, "same"),
    "nan": changed(_vertex(np.nan), "lost"),
    "infinite": changed(_vertex(np.inf), "lost"),
    "far": changed(_vertex(1e20), "lost"),
    "in millimetres": changed(_vertex(6000.0), "lost"),
}


def _weights(edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    """A change of a safetensors file's tensors; its metadata stays."""

    def change(data: bytes) -> bytes:
        size = struct.unpack("<Q", data[:8])[0]
        about = json.loads(data[8 : 8 + size]).get("__metadata__")
        return save({name: tensor.contiguous() for name, tensor in edit(load(data)).items()}, about)

    return change


def _tensor(number: int, edit: Callable[[torch.Tensor], torch.Tensor | None]) -> Change:
    def one(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = sorted(tensors)[number % len(tensors)]
        new = edit(tensors[name])
        others = {key: value for key, value in tensors.items() if key != name}
        return others if new is None else {**others, name: new}

    return _weights(one)


_TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "missing": lambda tensor: None,
    "of nan": lambda tensor: torch.full(tensor.shape, float("nan")),
    "infinite": lambda tensor: torch.full(tensor.shape, float("inf")),
    "of whole numbers": lambda tensor: torch.zeros(tensor.shape, dtype=torch.int64),
    "empty": lambda tensor: torch.zeros(0),
    "a dimension more": lambda tensor: tensor[None],
    "a row more": lambda tensor: (
        torch.zeros((tensor.shape[0] + 1, *tensor.shape[1:])) if tensor.ndim else None
    ),
}


def _header(edit: Callable[[bytes], bytes], size: int | None = None) -> Change:
    def change(data: bytes) -> bytes:
        end = 8 + struct.unpack("<Q", data[:8])[0]
        head = edit(data[8:end])
        return struct.pack("<Q", len(head) if size is None else size) + head + data[end:]

    return change


WEIGHTS: dict[str, Mutation] = {
    "a header of 10^18 bytes": changed(_header(bytes, 10**18), "lost"),
    "a header of no bytes": changed(_header(bytes, 0), "lost"),
    "a shape of 10^18": changed(
        _header(lambda head: head.replace(b'"shape":[', b'"shape":[9999999999,', 1)), "lost"
    ),
    "another type": changed(
        _header(lambda head: head.replace(b'"F16"', b'"F99"').replace(b'"F32"', b'"F99"')), "lost"
    ),
    "a name twice": changed(_header(lambda head: head[:-1] + b"," + head[1:]), "unknown"),
    "no tensors": changed(_weights(lambda tensors: {}), "lost"),
    "a tensor more": changed(_weights(lambda tensors: {**tensors, "more": torch.zeros(3)}), "lost"),
    "not about us": changed(lambda data: save(load(data)), "unknown"),
    **{
        f"tensor {number} {name}": changed(
            _tensor(number, edit), "unknown" if name == "of whole numbers" else "lost"
        )
        for number in (0, 5, -1)
        for name, edit in _TENSORS.items()
    },
}


def _parquet(edit: Callable[[pa.Table], pa.Table]) -> Change:
    """A change of a Parquet file's columns, with a row group for each row, as shards have."""

    def change(data: bytes) -> bytes:
        file = pq.ParquetFile(io.BytesIO(data))
        table = edit(file.read())
        sink = io.BytesIO()
        pq.write_table(table, sink, row_group_size=1)
        return sink.getvalue()

    return change


def _column(number: int, edit: Callable[[list[Any]], list[Any] | None]) -> Change:
    def one(table: pa.Table) -> pa.Table:
        at = number % table.num_columns
        new = edit(table.column(at).to_pylist())
        if new is None:
            return table.remove_column(at)
        kind = table.schema.field(at).type
        with suppress(pa.ArrowInvalid, pa.ArrowTypeError):
            return table.set_column(at, table.schema.names[at], pa.array(new, kind))
        return table.set_column(at, table.schema.names[at], pa.array(new))

    return _parquet(one)


def _cut(value: Any) -> Any:
    return value[:-1] if isinstance(value, bytes | str | list) else -1


_COLUMNS: dict[str, Callable[[list[Any]], list[Any] | None]] = {
    "missing": lambda values: None,
    "null": lambda values: [None] * len(values),
    "empty": lambda values: [value[:0] if isinstance(value, bytes | str | list) else 0 for value in values],
    "cut": lambda values: list(map(_cut, values)),
    "of ones": lambda values: [b"\xff" * len(one) if isinstance(one, bytes) else one for one in values],
    "text": lambda values: ["x"] * len(values),
}
PARQUET: dict[str, Mutation] = {
    "a row less": changed(_parquet(lambda table: table.slice(1)), "lost"),
    "rows twice": changed(_parquet(lambda table: pa.concat_tables([table, table])), "lost"),
    "no rows": changed(_parquet(lambda table: table.slice(0, 0)), "lost"),
    **{
        f"column {number} {name}": changed(_column(number, edit), "lost")
        for number in range(17)
        for name, edit in _COLUMNS.items()
    },
}


def _torch(content: Any) -> Change:
    def change(data: bytes) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    return change


class Code:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/tmp/hostile-code-was-run", "w"))


TORCH: dict[str, Mutation] = {
    "code": changed(_torch({"step": Code()}), "lost"),
    "a list": changed(_torch([1, 2]), "lost"),
    "a tensor": changed(_torch(torch.zeros(3)), "lost"),
    "nothing": changed(_torch(None), "lost"),
    "no values": changed(_torch({}), "lost"),
    "another version": changed(_torch({"schema_version": 99}), "lost"),
    "a version of text": changed(_torch({"schema_version": "1"}), "lost"),
    "a plain pickle": changed(lambda data: pickle.dumps({"step": 1}), "lost"),
    "code in a pickle": changed(lambda data: pickle.dumps(Code()), "lost"),
}
