"""LAS with labels: a copy of the source, or points of our own, with the student's classes as classification."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from scenelift.errors import DataError
from scenelift.inference.files.clouds import CHUNK, COLORS, Chunk
from scenelift.inference.files.labelled import Labelled

try:
    import laspy
except ImportError:
    raise DataError("--format las wants laspy; run: pip install 'laspy[lazrs]'") from None

UNCLASSIFIED = 1
FIRST_OF_USERS = 64
"""The first class of LAS 1.4 that is free for users: class c of the student is 63 + c."""
_LONGEST_NAME = 15
"""Bytes of a class's name in a lookup record."""


def write_las(path: Path, cloud: Labelled) -> None:
    """Points with classification and confidence; the source's other columns, scales and records where it is LAS."""
    source = (
        cloud.source if cloud.source is not None and cloud.source.suffix.lower() in (".las", ".laz") else None
    )
    extra = [laspy.ExtraBytesParams(name, np.float32) for name in cloud.extra(slice(0, 0))]
    with ExitStack() as stack:
        reader = None if source is None else stack.enter_context(laspy.open(source))
        first = next(iter(cloud.chunks()), Chunk(np.zeros((0, 3))))
        header = _made_header(first) if reader is None else _copied_header(reader.header)
        header.add_extra_dims(
            [each for each in extra if each.name not in header.point_format.dimension_names]
        )
        header.vlrs.append(_names(cloud.labels.classes))
        records = _made(cloud, header) if reader is None else _copied(reader, header)
        with laspy.open(path, "w", header=header, do_compress=False) as writer:
            start = 0
            for record in records:
                rows = slice(start, start + len(record))
                ids = cloud.labels.ids[rows]
                record["classification"] = np.where(ids > 0, ids + (FIRST_OF_USERS - 1), UNCLASSIFIED).astype(
                    np.uint8
                )
                for name, values in cloud.extra(rows).items():
                    record[name] = values
                writer.write_points(record)
                start = rows.stop


def _made_header(first: Chunk) -> Any:
    """With colors, in millimetres from a corner of the first points."""
    header = laspy.LasHeader(point_format=7, version="1.4")
    finite = first.points[np.isfinite(first.points).all(1)]
    header.scales = np.full(3, 0.001)
    header.offsets = np.floor(finite.min(0)) if len(finite) else np.zeros(3)
    return header


def _copied_header(old: Any) -> Any:
    """The source's, in a point format with 256 classes."""
    format_id = old.point_format.id
    if format_id < 6:
        format_id = 7 if "red" in old.point_format.dimension_names else 6
    header = laspy.LasHeader(point_format=format_id, version="1.4")
    header.scales, header.offsets = old.scales, old.offsets
    header.vlrs.extend(vlr for vlr in old.vlrs if vlr.user_id == "LASF_Projection")
    header.add_extra_dims(
        [laspy.ExtraBytesParams(each.name, each.dtype) for each in old.point_format.extra_dimensions]
    )
    return header


def _made(cloud: Labelled, header: Any) -> Iterator[Any]:
    for chunk, rows in cloud.parts():
        record = laspy.ScaleAwarePointRecord.zeros(len(chunk.points), header=header)
        if not np.isfinite(chunk.points).all():
            raise DataError(
                "LAS has no place for points that are not finite; choose another --format, such as ply"
            )
        record.x, record.y, record.z = chunk.points.T.astype(np.float64)
        if "intensity" in chunk.columns:
            record["intensity"] = np.clip(chunk.columns["intensity"], 0, 65_535).astype(np.uint16)
        for name, values in zip(COLORS, cloud.rgb(rows).T, strict=True):
            record[name] = values.astype(np.uint16) * 257  # 0..255 to 0..65535
        yield record


def _copied(reader: Any, header: Any) -> Iterator[Any]:
    for original in reader.chunk_iterator(CHUNK):
        record = laspy.ScaleAwarePointRecord.zeros(len(original), header=header)
        for name in original.point_format.dimension_names:
            if name in record.point_format.dimension_names:
                record[name] = original[name]
        yield record


def _names(classes: tuple[str, ...]) -> Any:
    lookup = laspy.vlrs.known.ClassificationLookupVlr()
    for number, name in enumerate(classes, FIRST_OF_USERS):
        lookup[number] = name.encode("ascii", "replace").decode()[:_LONGEST_NAME]
    return lookup
