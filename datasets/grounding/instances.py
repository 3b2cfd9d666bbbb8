"""The true objects of a ScanNet scene, in its axis-aligned frame (ws3dvg.md 2.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import decode_text, parse_json, read_bytes, words
from datasets.grounding.classes import NO_OBJECT, ClassMap
from scenelift.errors import FrameError
from scenelift.geometry.boxes3d import from_corners
from scenelift.geometry.transforms import require_rigid
from scenelift.io.ply import columns, read_vertices
from scenelift.samples.plausible import FARTHEST_IN_ROOM, require_bytes, require_metres
from scenelift.samples.room import Floats

_SETTING = re.compile(r"^\s*\w+\s*=", re.MULTILINE)
_UNNAMED = "object"
_MOST_OBJECTS = 1 << 31
"""objectId is below it: it is stored as 32 bits."""


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
    lost: int = 0
    """Objects of the aggregation that are left out, as no vertex is theirs."""


def read_scene(root: Path, name: str, classes: ClassMap) -> Scene:
    """Read `ROOT/scans/NAME`: mesh, segments, aggregation, and the alignment of NAME.txt.

    Walls, floors and ceilings are not objects. If NAME.txt has no axisAlignment (as in test scans), the scene is
    not transformed. FrameError for anything that is missing or inconsistent.
    """
    folder = f"scans/{name}"
    mesh = f"{folder}/{name}_vh_clean_2.ply"
    vertices = read_vertices(mesh, read_bytes(root, mesh))
    raw, colors = (columns(mesh, vertices, names) for names in (("x", "y", "z"), ("red", "green", "blue")))
    require_metres(mesh, raw, FARTHEST_IN_ROOM)
    require_bytes(mesh, colors, "colors")
    align = _alignment(root, f"{folder}/{name}.txt")
    points = (raw @ align[:3, :3].T + align[:3, 3]).astype(np.float32)
    groups = _groups(root, f"{folder}/{name}.aggregation.json")
    segments = _segments(root, f"{folder}/{name}_vh_clean_2.0.010000.segs.json", len(points))
    objects = {
        number: (label, members)
        for number, (label, members) in sorted(groups.items())
        if classes.nyu40.get(label) not in NO_OBJECT
    }
    kept = {number: one for number, one in objects.items() if np.isin(one[1], segments).any()}
    used, place = np.unique(segments, return_inverse=True)  # numbers may be large
    owner = np.full(len(used), -1)
    for row, (_, members) in enumerate(kept.values()):
        owner[np.isin(used, members)] = row
    vertex_object = owner[place].astype(np.int32)
    boxes = [from_corners(points[np.isin(segments, members)]) for _, members in kept.values()]
    return Scene(
        points=points,
        colors=colors.astype(np.uint8),
        numbers=np.array(list(kept), np.int32),
        names=tuple(label for label, _ in kept.values()),
        boxes=np.array(boxes, np.float32).reshape(-1, 6),
        vertex_object=vertex_object,
        lost=len(objects) - len(kept),
    )


def _alignment(root: Path, name: str) -> NDArray[np.float64]:
    """[4, 4] from the line `axisAlignment = ...` of a scan's description."""
    text = decode_text(name, read_bytes(root, name))
    if not _SETTING.search(text):
        raise FrameError(f"{name} is not a scan's description: it has no line such as sceneType = Office")
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            try:
                align = np.array(words(value), np.float64).reshape(4, 4)
            except ValueError:
                raise FrameError(f"{name}: axisAlignment is not 16 numbers") from None
            try:
                require_rigid(align)
            except ValueError as error:
                raise FrameError(f"{name}: axisAlignment: {error}") from None
            return align
    return np.eye(4)


def _groups(root: Path, name: str) -> dict[int, tuple[str, NDArray[np.int64]]]:
    """objectId -> (raw category, its segments); an object that is listed twice has the segments of both."""
    groups: dict[int, tuple[str, NDArray[np.int64]]] = {}
    try:
        for row in _json(root, name, "segGroups"):
            if not row["segments"]:
                continue
            number, label = int(row["objectId"]), str(row.get("label", _UNNAMED))
            members = _numbers(row["segments"])
            if not 0 <= number < _MOST_OBJECTS:
                raise ValueError(f"objectId {number} is no number of an object")
            before = groups.get(number, (label, np.empty(0, np.int64)))
            if before[0] != label:
                raise ValueError(f"objectId {number} is both {before[0]!r} and {label!r}")
            groups[number] = (label, np.union1d(before[1], members) if len(before[1]) else members)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise FrameError(f"{name} is not a ScanNet aggregation: {error}") from None
    return groups


def _numbers(listed: Any) -> NDArray[np.int64]:
    """A JSON list of whole numbers; ValueError for anything else."""
    if not isinstance(listed, list) or not all(type(number) is int for number in listed):
        raise ValueError("segments are no whole numbers")
    return np.array(listed, np.int64)


def _segments(root: Path, name: str, count: int) -> NDArray[np.int64]:
    """[N] segment of each vertex."""
    try:
        segments = _numbers(_json(root, name, "segIndices"))
    except (TypeError, ValueError, OverflowError):
        raise FrameError(f"{name} has segIndices that are not numbers") from None
    if segments.shape != (count,):
        raise FrameError(f"{name} has {len(segments)} segment numbers for {count} vertices")
    if len(segments) and segments.min() < 0:
        raise FrameError(f"{name} has a negative segment number")
    return segments


def _json(root: Path, name: str, key: str) -> Any:
    try:
        return parse_json(name, read_bytes(root, name))[key]
    except (KeyError, TypeError):
        raise FrameError(f"{name} is not JSON with {key}") from None
