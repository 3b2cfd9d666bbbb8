"""Reads the vertices of a binary PLY file, the format of ScanNet's meshes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import FrameError

_TYPES = {
    "char": "<i1",
    "int8": "<i1",
    "uchar": "<u1",
    "uint8": "<u1",
    "short": "<i2",
    "int16": "<i2",
    "ushort": "<u2",
    "uint16": "<u2",
    "int": "<i4",
    "int32": "<i4",
    "uint": "<u4",
    "uint32": "<u4",
    "float": "<f4",
    "float32": "<f4",
    "double": "<f8",
    "float64": "<f8",
}
_FORMAT = "binary_little_endian"
_END = b"end_header\n"


def read_vertices(name: str, data: bytes) -> NDArray[Any]:
    """[N] structured array of the vertices, with the file's properties as fields.

    The vertices must come first, as in ScanNet's files; later elements (faces) are not read. Raises FrameError
    for a file that is truncated, ASCII, big-endian, or not a PLY file.
    """
    header, end, body = data.partition(_END)
    if not data.startswith(b"ply") or not end:
        raise FrameError(f"{name} is not a PLY file, or truncated within its header")
    lines = [line.split() for line in header.decode("latin-1").splitlines()[1:]]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if not lines or lines[0][:1] != ["format"] or lines[0][1:2] != [_FORMAT]:
        actual = " ".join(lines[0][1:2]) if lines else "none"
        raise FrameError(f"{name} is a PLY file of format {actual}; save it as {_FORMAT}")
    try:
        count, dtype = _vertex_element(lines[1:])
    except (ValueError, KeyError, IndexError):
        raise FrameError(f"{name} does not begin with vertices of plain properties") from None
    if count < 1 or len(body) < count * dtype.itemsize:
        raise FrameError(f"{name} is truncated: {len(body)} bytes are not {count} vertices")
    return np.frombuffer(body, dtype, count)


def _vertex_element(lines: list[list[str]]) -> tuple[int, np.dtype[Any]]:
    """Count and type of the first element, which must be the vertices."""
    element, name, count = lines[0]
    if (element, name) != ("element", "vertex"):
        raise ValueError
    fields = []
    for words in lines[1:]:
        if words[0] == "element":
            break
        keyword, kind, field = words
        if keyword != "property":
            raise ValueError
        fields.append((field, _TYPES[kind]))
    return int(count), np.dtype(fields)


def columns(name: str, vertices: NDArray[Any], wanted: tuple[str, ...]) -> NDArray[np.float32]:
    """[N, len(wanted)] properties of the vertices; FrameError for one that they do not have."""
    for column in wanted:
        if column not in (vertices.dtype.names or ()):
            raise FrameError(f"{name} has vertices without the property {column}")
    return np.stack([vertices[column].astype(np.float32) for column in wanted], 1)


def encode_vertices(vertices: NDArray[Any]) -> bytes:
    """A PLY file of vertices, a structured array of float32, uint8 or uint16 fields, and no faces."""
    kinds = {"<f4": "float", "|u1": "uchar", "<u2": "ushort"}
    names = vertices.dtype.names or ()
    lines = [
        "ply",
        f"format {_FORMAT} 1.0",
        f"element vertex {len(vertices)}",
        *(f"property {kinds[vertices.dtype[name].str]} {name}" for name in names),
        "element face 0",
        "property list uchar int vertex_indices",
    ]
    return "\n".join(lines).encode() + b"\n" + _END + vertices.tobytes()
