"""Reads nuScenes tables: JSON lists of rows, up to gigabytes, of which only some columns and rows are needed.

The text is split between rows, and Arrow parses the pieces on two threads. A split may wrongly fall inside a string
or a nested list; its pieces are then invalid JSON, Arrow reports that, and the file is read row by row with
Python's own parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from scenelift.errors import DataError

Keep = Callable[[pa.Table], pa.Array]
"""Selects rows of a piece of a table: returns a boolean array."""

_PIECE = 32 << 20
"""Bytes parsed at a time: bounds the memory, and is large enough that splitting costs nothing."""
_WINDOW = 1 << 16
"""Bytes searched for the end of a row at each split."""
_THREADS = 2
_LONGEST_ROW = 1 << 20
"""Longest row, characters: a longer text that does not parse is broken, not truncated."""
_ROWS = 50_000
"""Rows per Arrow table when reading row by row."""
_BETWEEN_ROWS = re.compile(rb"\}\s*,\s*\{")


def read_table(path: Path, schema: pa.Schema, keep: Keep | None = None) -> pa.Table:
    """The rows of a JSON list of objects that `keep` selects, with the columns of `schema` only.

    Raises DataError for a missing file, broken JSON, a value of another type, or a row without one of the
    columns that `schema` marks as not nullable.
    """
    if not path.is_file():
        raise DataError(f"{path.parent} has no table {path.name}; unpack the complete metadata archive there")

    def select(piece: pa.Table) -> pa.Table:
        for field in schema:
            if not field.nullable and piece[field.name].null_count:
                raise DataError(f"{path} has a row without {field.name}")
        kept = piece if keep is None else piece.filter(keep(piece))
        kept.validate(full=True)  # Arrow accepts invalid UTF-8 as text
        return kept

    nullable = _nullable(schema)
    try:
        pieces = _parse_pieces(path, nullable, select)
    except pa.ArrowInvalid:
        pieces = [select(piece) for piece in _parse_rows(path, nullable)]
    return pa.concat_tables([nullable.empty_table(), *pieces]).combine_chunks()


def read_keyed(path: Path, schema: pa.Schema, keep: Keep | None = None) -> pa.Table:
    """`read_table` for a schema with the column token; a row that is there twice counts once.

    Raises DataError where two rows with one token differ.
    """
    rows = read_table(path, schema, keep)
    tokens = rows["token"]
    if pc.count_distinct(tokens).as_py() == len(tokens):
        return rows
    first: dict[str, int] = {}
    content = rows.to_pylist()
    for number, row in enumerate(content):
        if content[first.setdefault(row["token"], number)] != row:
            raise DataError(f"{path} has two different rows with the token {row['token']}; unpack it again")
    return rows.take(list(first.values()))


def _nullable(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.with_nullable(True) for field in schema])


def _parse_pieces(path: Path, schema: pa.Schema, select: Callable[[pa.Table], pa.Table]) -> list[pa.Table]:
    def parse(piece: tuple[int, int]) -> pa.Table:
        with path.open("rb") as file:
            file.seek(piece[0])
            rows = file.read(piece[1] - piece[0])
        return select(_parse_piece(rows, schema))

    with path.open("rb") as file, ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(parse, _pieces(file)))


def _parse_piece(rows: bytes, schema: pa.Schema) -> pa.Table:
    """Parse comma-separated rows, wrapped as a single list in a JSON object."""
    text = b'{"rows":[%b]}' % rows
    lists = pyarrow.json.read_json(
        pa.BufferReader(text),
        pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        pyarrow.json.ParseOptions(
            explicit_schema=pa.schema({"rows": pa.list_(pa.struct(list(schema)))}),
            unexpected_field_behavior="ignore",
        ),
    )
    structs = pc.list_flatten(lists["rows"]).combine_chunks()
    if structs.null_count:
        raise pa.ArrowInvalid("a row is null")
    return pa.Table.from_struct_array(structs)


def _pieces(file: BinaryIO) -> list[tuple[int, int]]:
    """Start and end of the pieces that the list's content is split into."""
    start, end = _inside(file)
    pieces = []
    for target in range(start + _PIECE, end, _PIECE):
        file.seek(target)
        if cut := _BETWEEN_ROWS.search(file.read(_WINDOW)):
            pieces.append((start, target + cut.start() + 1))
            start = target + cut.end() - 1
    return [*pieces, (start, end)] if start < end else pieces


def _inside(file: BinaryIO) -> tuple[int, int]:
    """Start and end of the text between the list's brackets, without surrounding spaces."""
    size = file.seek(0, 2)
    file.seek(0)
    head = re.match(rb"\s*\[\s*", file.read(_WINDOW))
    file.seek(max(0, size - _WINDOW))
    tail = file.read(_WINDOW).rstrip()
    if head is None or not tail.endswith(b"]"):
        raise pa.ArrowInvalid("no list")
    return head.end(), max(0, size - _WINDOW) + len(tail[:-1].rstrip())


def _parse_rows(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """The same tables by Python's parser: slow, but correct for any JSON."""
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for row in _rows(file):
                rows.append({name: row.get(name) for name in schema.names})
                if len(rows) == _ROWS:
                    yield pa.Table.from_pylist(rows, schema)
                    rows.clear()
        yield pa.Table.from_pylist(rows, schema)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path} is not a table of the right form; unpack it again: {reason}") from None


def _rows(file: TextIO) -> Iterator[Any]:
    """Decode the elements of a JSON list one by one, with little more than a piece of the text in memory."""
    decoder = json.JSONDecoder()
    text = file.read(_PIECE).lstrip()
    if text[:1] != "[":
        raise ValueError("it does not start as a list")
    start, separator = 1, ","
    while True:
        start = _skip(text, start)
        if text[start : start + 1] == "]":
            break
        try:
            row, end = decoder.raw_decode(text, start)
            end = _skip(text, end)
            separator = text[end : end + 1]
            if not separator:
                raise ValueError("it ends within the list")
        except ValueError:
            more = file.read(_PIECE) if len(text) - start < _LONGEST_ROW else ""
            if not more:
                raise
            text, start = text[start:] + more, 0
            continue
        yield row
        if separator not in ",]":
            raise ValueError(f"{separator!r} between rows")
        start = end + (separator == ",")
    if (text[start + 1 :] + file.read(_WINDOW)).strip():
        raise ValueError("text after the list")


def _skip(text: str, start: int) -> int:
    while text[start : start + 1].isspace():
        start += 1
    return start
