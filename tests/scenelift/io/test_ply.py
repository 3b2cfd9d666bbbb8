"""A mesh is read the same in every form of PLY, with either line end, whatever lies behind its vertices."""

from __future__ import annotations

import io

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from scenelift.io.ply import encode_vertices, read_vertices

FIELDS = [("x", "<f4"), ("y", "<f8"), ("red", "u1"), ("label", "<u2"), ("depth", "<i4")]


def vertices(count: int = 7) -> np.ndarray:
    rng, found = np.random.default_rng(0), np.empty(count, FIELDS)
    for name, _ in FIELDS:
        found[name] = rng.uniform(0, 200, count)
    return found


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("text", "order"), [(False, "<"), (False, ">"), (True, "=")])
def test_every_form_gives_the_same_vertices(text: bool, order: str, newline: bytes) -> None:
    faces = np.empty(3, [("vertex_indices", object)])
    faces["vertex_indices"] = [np.arange(3), np.arange(4), np.arange(5)]
    elements = [PlyElement.describe(vertices(), "vertex"), PlyElement.describe(faces, "face")]
    file = io.BytesIO()
    PlyData(elements, text=text, byte_order=order, comments=["element vertex 3"]).write(file)
    header, end, body = file.getvalue().partition(b"end_header\n")
    data = (header + end).replace(b"\n", newline) + (body.replace(b"\n", newline) if text else body)
    found = read_vertices("x", data)
    assert found.dtype == vertices().dtype
    for name, _ in FIELDS:
        assert np.allclose(found[name], vertices()[name]), name


def test_vertices_come_back_to_the_bit() -> None:
    assert (read_vertices("x", encode_vertices(vertices())) == vertices()).all()
