"""The vertices of PLY files, ascii or binary, of either byte order: meshes of ScanNet, point clouds of anybody."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plyfile import PlyData, PlyElement, PlyHeaderParseError, PlyListProperty

from scenelift.errors import FrameError

_HEADER = re.compile(rb"ply\r?\n.*?\nend_header\r?\n", re.DOTALL)
_COUNT = re.compile(rb"^(element +\S+) +(\d+)", re.MULTILINE)


def read_vertices(name: str, data: bytes) -> NDArray[Any]:
    """[N] structured array of the vertices, with the file's properties as fields.

    The vertices must come first, as they mostly do; what follows them (faces) is not read. Raises FrameError
    for a file that is truncated or is not PLY.
    """
    header = _HEADER.match(data)
    if header is None:
        raise FrameError(f"{name} is not a PLY file, or truncated within its header")
    count = _COUNT.search(header[0])
    if count is None:
        raise FrameError(f"{name} has a bad PLY header: no element has a count")
    try:
        # plyfile reads the header alone: of data that is not a file on disk it reads row by row, seconds a mesh.
        ply = PlyData.read(io.BytesIO(_COUNT.sub(rb"\1 0", header[0].replace(b"\r\n", b"\n"))))
    except (PlyHeaderParseError, ValueError) as error:  # a ValueError where two elements have one name
        raise FrameError(f"{name} has a bad PLY header: {error}") from None
    plain = ply.elements and not any(isinstance(one, PlyListProperty) for one in ply.elements[0].properties)
    if not plain or ply.elements[0].name != "vertex":
        raise FrameError(f"{name} does not begin with vertices of plain properties")
    return _rows(name, data[header.end() :], ply.elements[0].dtype(ply.byte_order), int(count[2]), ply.text)


def _rows(name: str, body: bytes, dtype: Any, count: int, text: bool) -> NDArray[Any]:
    rows = np.empty(0)
    try:
        if not text:
            rows = np.frombuffer(body, dtype, count).astype(np.dtype(dtype).newbyteorder("="), copy=False)
        elif body.strip():
            rows = np.loadtxt(io.BytesIO(body), dtype, comments=None, max_rows=count, ndmin=1)
    except (ValueError, OverflowError):
        pass
    if not count or len(rows) < count:
        raise FrameError(f"{name} is truncated: {len(body)} bytes are not {count} vertices")
    return rows


def columns(name: str, vertices: NDArray[Any], wanted: tuple[str, ...]) -> NDArray[np.float32]:
    """[N, len(wanted)] properties of the vertices; FrameError for one that they do not have."""
    for column in wanted:
        if column not in (vertices.dtype.names or ()):
            raise FrameError(f"{name} has vertices without the property {column}")
    return np.stack([vertices[column].astype(np.float32) for column in wanted], 1)


def encode_vertices(vertices: NDArray[Any]) -> bytes:
    """A PLY file of vertices, a structured array of scalar fields, and no faces."""
    file, faces = io.BytesIO(), np.empty(0, [("vertex_indices", object)])
    elements = [PlyElement.describe(vertices, "vertex"), PlyElement.describe(faces, "face")]
    PlyData(elements, byte_order="<").write(file)
    return file.getvalue()
