"""Ways to break a text of one format: JSON and lines of it, tables, XML, YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from benchmarks.hostile.mutations import Change, Mutation, changed

Edit = Callable[[Any], Any]


# JSON


def _values(node: Any, key: int) -> tuple[Any, Any] | None:
    """The container and key of the n-th leaf of a JSON value, the first of each list's items standing for all."""
    found: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for name, child in value.items() if isinstance(value, dict) else list(enumerate(value))[:1]:
            found.append((value, name))
            if isinstance(child, dict | list):
                walk(child)

    walk(node)
    return found[key] if key < len(found) else None


def _json(edit: Edit) -> Change:
    def change(data: bytes) -> bytes:
        content = json.loads(data)
        return json.dumps(edit(content)).encode()

    return change


def _leaf(key: int, new: Any, drop: bool = False) -> Edit:
    def edit(content: Any) -> Any:
        place = _values(content, key) if isinstance(content, dict | list) else None
        if place is None:
            return content
        parent, name = place
        if drop:
            del parent[name]
        else:
            parent[name] = new
        return content

    return edit


_ODD = {
    "null": None,
    "a list": [[]],
    "an object": {"a": 1},
    "text": "x",
    "empty text": "",
    "true": True,
    "minus one": -1,
    "a fraction": 0.5,
    "10^12": 10**12,
    "10^400": 10**400,
    "outside": "../../../etc/passwd",
    "a zero byte": "a\0b",
    "long": "y" * 200_000,
    "half a character": "\ud800",
}
JSON: dict[str, Mutation] = {
    "null": changed(lambda data: b"null", "lost"),
    "a number": changed(lambda data: b"5", "lost"),
    "a string": changed(lambda data: b'"text"', "lost"),
    "an object": changed(lambda data: b'{"a": {"b": [null]}}', "lost"),
    "no rows": changed(lambda data: b"[]"),
    "nothing": changed(lambda data: b"{}"),
    "rows of null": changed(lambda data: b"[null, null]", "lost"),
    "rows of lists": changed(lambda data: b"[[1, 2], [3]]", "lost"),
    "empty rows": changed(lambda data: b"[{}, {}]", "lost"),
    "deep": changed(lambda data: b"[" * 100_000 + b"]" * 100_000, "lost"),
    "deep objects": changed(lambda data: b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "lost"),
    "many digits": changed(lambda data: b"[" + b"9" * 100_000 + b"]", "lost"),
    "in a list": changed(lambda data: b"[" + data + b"]"),
    "in an object": changed(lambda data: b'{"rows": ' + data + b"}", "lost"),
    "a comma more": changed(lambda data: re.sub(rb"([\]}])\s*$", rb",\1", data)),
    "a comment": changed(lambda data: b"// rows\n" + data),
    "indented": changed(_json(lambda content: content), "same"),
    "keys again": changed(lambda data: re.sub(rb'("[a-z_]+": *)', rb"\1null, \1", data, count=1)),
    **{
        f"key {key} {name}": changed(_json(_leaf(key, new))) for key in range(8) for name, new in _ODD.items()
    },
    **{f"key {key} dropped": changed(_json(_leaf(key, None, drop=True))) for key in range(8)},
}
LINES: dict[str, Mutation] = {
    f"line of {name}": changed(lambda data, new=new: data + json.dumps(new).encode() + b"\n")  # type: ignore[misc]
    for name, new in {**_ODD, "a key": {"kind": "metrics"}, "values": {"kind": "epoch", "values": 5}}.items()
}

# Text with columns, and XML


def _column(edit: Callable[[list[bytes]], list[bytes]]) -> Change:
    def change(data: bytes) -> bytes:
        separator = b"\t" if b"\t" in data else b","
        return b"\n".join(separator.join(edit(line.split(separator))) for line in data.split(b"\n"))

    return change


TABLE: dict[str, Mutation] = {
    "less a column": changed(_column(lambda row: row[1:])),
    "less the last column": changed(_column(lambda row: row[:-1])),
    "a column more": changed(_column(lambda row: [b"x", *row])),
    "columns backwards": changed(_column(lambda row: row[::-1])),
    "semicolons": changed(lambda data: data.replace(b",", b";")),
    "a quote": changed(lambda data: data.replace(b"\n", b'\n"', 1)),
    "a long field": changed(lambda data: data.replace(b"\n", b"\n" + b"z" * 200_000, 1)),
    "minuses": changed(lambda data: re.sub(rb"\"\[.*?\]\"", b"-" * 60_000 + b"1", data)),
    "a call": changed(lambda data: re.sub(rb"\"\[.*?\]\"", b"__import__('os').getcwd()", data)),
    "nested": changed(lambda data: re.sub(rb"\"\[.*?\]\"", b"[" * 50_000 + b"]" * 50_000, data)),
}
XML: dict[str, Mutation] = {
    "laughs": changed(
        lambda data: (
            b'<!DOCTYPE a [<!ENTITY a "ha">'
            + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12))
            + b"]><annotation>&m;</annotation>"
        ),
        "lost",
    ),
    "another's file": changed(
        lambda data: b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
        "lost",
    ),
    "an unknown encoding": changed(lambda data: b'<?xml version="1.0" encoding="klingon"?>' + data),
    "deep": changed(lambda data: b"<a>" * 100_000 + b"</a>" * 100_000, "lost"),
    "other names": changed(lambda data: data.replace(b"bndbox", b"box")),
    "sides swapped": changed(lambda data: data.replace(b"xmin", b"tmp").replace(b"xmax", b"xmin")),
    "no size": changed(lambda data: re.sub(rb"<size>.*</size>", b"", data), "lost"),
    "an empty side": changed(lambda data: re.sub(rb"<xmin>\d+</xmin>", b"<xmin/>", data), "lost"),
    "a box of 10^400": changed(lambda data: re.sub(rb"<xmax>\d+", b"<xmax>1" + b"0" * 400, data), "lost"),
    "far boxes": changed(lambda data: re.sub(rb"<xm(in|ax)>\d+", rb"<xm\1>999999", data)),
}
YAML: dict[str, Mutation] = {
    "a tag": changed(lambda data: data + b"\nextra: !!python/object/apply:os.getcwd []\n", "lost"),
    "an alias": changed(lambda data: b"a: &a [1]\n" + b"b: [*a, *a]\n" + data),
    "tabs": changed(lambda data: data.replace(b"  ", b"\t")),
    "a list": changed(lambda data: b"- 1\n- 2\n", "lost"),
    "no version": changed(lambda data: re.sub(rb"schema_version.*\n", b"", data), "lost"),
    "version nan": changed(lambda data: re.sub(rb"(schema_version:).*", rb"\1 .nan", data), "lost"),
    "version a list": changed(lambda data: re.sub(rb"(schema_version:).*", rb"\1 [1]", data), "lost"),
    "not a number": changed(lambda data: re.sub(rb": \d+(\.\d+)?\n", b": .nan\n", data), "lost"),
    "no values": changed(lambda data: re.sub(rb": .*\n", b":\n", data), "lost"),
    "keys are numbers": changed(lambda data: re.sub(rb"(?m)^[a-z_]+:", b"5:", data), "lost"),
    "dates": changed(lambda data: re.sub(rb": \d+(\.\d+)?\n", b": 2020-01-01\n", data), "lost"),
    "deep": changed(lambda data: b"[" * 5_000, "lost"),
}
