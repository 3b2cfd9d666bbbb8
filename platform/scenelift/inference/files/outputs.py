"""Labels as files: PLY, LAS, NumPy, Parquet, and the raw files of SemanticKITTI and nuScenes."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.inference.files.clouds import CHUNK, COLORS, LABELS
from scenelift.inference.files.labelled import Labelled
from scenelift.io import storage
from scenelift.io.folders import upload

Write = Callable[[Path, Labelled], None]


@dataclass(frozen=True)
class Format:
    """One form of the output."""

    suffix: str
    """What a file's name ends with."""
    write: Write
    about: str
    """For --help."""
    most: int = 65_535
    """Classes that fit."""
    classes: tuple[str, ...] = ()
    """Classes that it is for; empty: any."""
    named: Callable[[str], str] = str
    """Name of a cloud -> that of its labels, without the suffix."""
    finish: Callable[[Path], None] | None = None
    """What is left to do in the folder once all labels are there."""

    def place(self, name: str) -> str:
        """Where the labels of a cloud lie in the folder."""
        return f"{self.named(name)}{self.suffix}"


def _ply(path: Path, cloud: Labelled) -> None:
    count, dtype = 0, None
    with path.open("wb") as file:
        for chunk, rows in cloud.parts():
            extra = cloud.extra(rows)
            kind = "<f8" if chunk.points.dtype == np.float64 else "<f4"
            if dtype is None:
                fields = [
                    *((axis, kind) for axis in "xyz"),
                    *((color, "u1") for color in COLORS),
                    ("label", "<u2"),
                ]
                dtype = np.dtype([*fields, *((name, "<f4") for name in extra)])
                file.write(_ply_header(dtype, len(cloud.labels), cloud.labels.classes))
            vertices = np.empty(len(chunk.points), dtype)
            for i, axis in enumerate("xyz"):
                vertices[axis] = chunk.points[:, i]
            for i, color in enumerate(COLORS):
                vertices[color] = cloud.rgb(rows)[:, i]
            vertices["label"] = cloud.labels.ids[rows]
            for name, values in extra.items():
                vertices[name] = values
            file.write(vertices.tobytes())
            count += len(vertices)
    assert count == len(cloud.labels)


_PLY_NAMES = {"f8": "double", "f4": "float", "u1": "uchar", "u2": "ushort"}


def _ply_header(dtype: np.dtype[Any], count: int, classes: tuple[str, ...]) -> bytes:
    """Written here and not by a library, which would need all points at once."""
    names = (f"comment label {i} {json.dumps(name)}" for i, name in enumerate(classes, 1))
    fields = (f"property {_PLY_NAMES[dtype[name].str[1:]]} {name}" for name in dtype.names or ())
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        *names,
        f"element vertex {count}",
        *fields,
        "end_header",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def raw(dtype: str, numbers: NDArray[np.integer] | None = None) -> Write:
    """Writes bare labels, one value a point. numbers: label 0..C -> the value; None: the label itself."""

    def write(path: Path, cloud: Labelled) -> None:
        with path.open("wb") as file:
            for start in range(0, len(cloud.labels), CHUNK):
                ids = cloud.labels.ids[start : start + CHUNK]
                file.write((ids if numbers is None else numbers[ids]).astype(dtype).tobytes())

    return write


def _npz(path: Path, cloud: Labelled) -> None:
    labels = cloud.labels
    extra = {name: getattr(labels, name) for name in ("scores", "features")}
    given = {name: values for name, values in extra.items() if values is not None}
    arrays: dict[str, Any] = {"ids": labels.ids, "confidence": labels.confidence, **given}
    with path.open("wb") as file:
        np.savez(file, classes=np.array(labels.classes), **arrays)


def _parquet(path: Path, cloud: Labelled) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, writer = pa.array(["", *cloud.labels.classes]), None
    try:
        for chunk, rows in cloud.parts():
            columns = {axis: chunk.points[:, i] for i, axis in enumerate("xyz")}
            ids = cloud.labels.ids[rows]
            named = pa.DictionaryArray.from_arrays(pa.array(ids.astype(np.int32)), names)
            arrays = {**columns, "id": ids, "name": named, **cloud.extra(rows)}
            if cloud.labels.features is not None:
                flat = pa.array(np.ascontiguousarray(cloud.labels.features[rows]).reshape(-1))
                arrays["features"] = pa.FixedSizeListArray.from_arrays(flat, cloud.labels.features.shape[1])
            table = pa.table(arrays)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _las(path: Path, cloud: Labelled) -> None:
    from scenelift.inference.files.las import write_las  # imports laspy

    write_las(path, cloud)


FORMATS = {
    "ply": Format(".ply", _ply, "points, colors of the classes, label, confidence"),
    "las": Format(".las", _las, "classes from 64 on, which are free for users, with their names", 192),
    "npz": Format(".npz", _npz, "ids, confidence, classes"),
    "parquet": Format(".parquet", _parquet, "points, id, name, confidence"),
    "label": Format(".label", raw("<u4"), "uint32 ids, as SemanticKITTI has them"),
    "lidarseg": Format(LABELS[0], raw("u1"), "uint8 ids, as nuScenes has them", 255),
}
"""By name."""


def write_labels(place: str, chosen: Format, cloud: Labelled) -> None:
    """Write a file at a resolved path or a URI so that it is whole or absent; StorageError if the disk is full."""
    filesystem, path = storage.resolve(place)
    local = storage.is_local(filesystem)
    folder = Path(path).parent if local else Path(tempfile.gettempdir())
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{storage.TEMPORARY}{uuid.uuid4().hex}{chosen.suffix}"
    try:
        with storage.explained(*storage.resolve(temporary)):
            chosen.write(temporary, cloud)
            storage.sync(temporary)
        if not local:
            upload(temporary, place)
            return
        with storage.explained(filesystem, path):
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
