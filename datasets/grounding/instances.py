"""The true objects of a ScanNet scene, in its axis-aligned frame (ws3dvg.md 2.6)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import read_bytes, require_finite
from datasets.grounding.classes import NO_OBJECT, ClassMap
from datasets.scannet.ply import columns, read_vertices
from scenelift.errors import FrameError
from scenelift.geometry.boxes3d import from_corners
from scenelift.samples.room import Floats

_UNNAMED = "object"


@dataclass(frozen=True)
class Scene:
    """A scene with its true objects. Shapes: N vertices, G objects."""

    points: Floats
    """[N, 3] aligned vertices, metres, z up."""
    colors: NDArray[np.uint8]
    """[N, 3] RGB."""
    numbers: NDArray[np.int32]
    """[G] objectId of each object, ascending."""
    names: tuple[str, ...]
    """[G] raw category."""
    boxes: Floats
    """[G, 6] centre and size."""
    vertex_object: NDArray[np.int32]
    """[N] index of each vertex's object, or -1."""


def read_scene(root: Path, name: str, classes: ClassMap) -> Scene:
    """Read `ROOT/scans/NAME`: mesh, segments, aggregation, and the alignment of NAME.txt.

    Walls, floors and ceilings are not objects. If NAME.txt has no axisAlignment (as in test scans), the scene is
    not transformed. FrameError for anything that is missing or inconsistent.
    """
    folder = f"scans/{name}"
    mesh = f"{folder}/{name}_vh_clean_2.ply"
    vertices = read_vertices(mesh, read_bytes(root, mesh))
    raw = require_finite(mesh, columns(mesh, vertices, ("x", "y", "z")))
    align = _alignment(root, f"{folder}/{name}.txt")
    points = (raw @ align[:3, :3].T + align[:3, 3]).astype(np.float32)
    groups = _groups(root, f"{folder}/{name}.aggregation.json")
    segments = _segments(root, f"{folder}/{name}_vh_clean_2.0.010000.segs.json", len(points))
    kept = {
        number: (label, members)
        for number, (label, members) in sorted(groups.items())
        if classes.nyu40.get(label) not in NO_OBJECT and np.isin(members, segments).any()
    }
    owner = np.full(max(int(segments.max(initial=0)), *(int(m.max()) for _, m in kept.values()), 0) + 1, -1)
    for row, (_, members) in enumerate(kept.values()):
        owner[members] = row
    vertex_object = owner[segments].astype(np.int32)
    boxes = [from_corners(points[np.isin(segments, members)]) for _, members in kept.values()]
    return Scene(
        points=points,
        colors=columns(mesh, vertices, ("red", "green", "blue")).astype(np.uint8),
        numbers=np.array(list(kept), np.int32),
        names=tuple(label for label, _ in kept.values()),
        boxes=np.array(boxes, np.float32).reshape(-1, 6),
        vertex_object=vertex_object,
    )


def _alignment(root: Path, name: str) -> NDArray[np.float64]:
    """[4, 4] from the line `axisAlignment = ...` of a scan's description."""
    for line in read_bytes(root, name).decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                return np.array(value.split(), np.float64).reshape(4, 4)
            except ValueError:
                raise FrameError(f"{name}: axisAlignment is not 16 numbers") from None
    return np.eye(4)


def _groups(root: Path, name: str) -> dict[int, tuple[str, NDArray[np.int64]]]:
    """objectId -> (raw category, its segments)."""
    rows = _json(root, name, "segGroups")
    try:
        return {
            int(row["objectId"]): (str(row.get("label", _UNNAMED)), np.array(row["segments"], np.int64))
            for row in rows
            if row["segments"]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise FrameError(f"{name} is not a ScanNet aggregation: {error}") from None


def _segments(root: Path, name: str, count: int) -> NDArray[np.int64]:
    """[N] segment of each vertex."""
    try:
        segments = np.array(_json(root, name, "segIndices"), np.int64)
    except (TypeError, ValueError):
        raise FrameError(f"{name} has segIndices that are not numbers") from None
    if segments.shape != (count,):
        raise FrameError(f"{name} has {len(segments)} segment numbers for {count} vertices")
    if len(segments) and segments.min() < 0:
        raise FrameError(f"{name} has a negative segment number")
    return segments


def _json(root: Path, name: str, key: str) -> Any:
    try:
        return json.loads(read_bytes(root, name))[key]
    except (ValueError, KeyError, TypeError):
        raise FrameError(f"{name} is not JSON with {key}") from None
