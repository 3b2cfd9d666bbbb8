"""One shard: frames <-> a Parquet file whose footer says what is in it and which job it belongs to.

A frame is a row group of its own, because training reads single frames in random order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs as pafs

from scenelift import storage
from scenelift.frames import ROW_SCHEMA, SCHEMA_VERSION, Frame
from scenelift.vocabulary import Vocabulary

_METADATA = b"scenelift"
"""Key of the summary in a shard's footer."""
# Measured on the real nuScenes frame (34,688 points, six 224x416 JPEGs; 2 cores): reading one random frame
# takes 0.3 ms of CPU uncompressed, 0.4 ms with lz4 and 0.9 ms with zstd-1 at 1.00, 0.79 and 0.66 of the
# size, and 3 to 5 times as long with 4 to 8 frames in a row group. JPEGs and PNGs do not compress any further.
_COMPRESSION = dict.fromkeys(("points", "features", "sweep", "labels", "pair_points", "pair_pixels"), "zstd")


def encode(frames: Sequence[Frame], summary: dict[str, Any]) -> pa.Buffer:
    """The Parquet file of some frames; the same bytes for the same frames and summary."""
    sink = pa.BufferOutputStream()
    compression = {field.name: _COMPRESSION.get(field.name, "none") for field in ROW_SCHEMA}
    for name in ("images", "superpixels", "cameras"):
        compression[f"{name}.list.element"] = "none"
    with pq.ParquetWriter(
        sink, ROW_SCHEMA, compression=compression, use_dictionary=False, write_statistics=False
    ) as writer:
        for frame in frames:
            writer.write_table(pa.Table.from_pylist([frame.to_row()], schema=ROW_SCHEMA))
        writer.add_key_value_metadata({_METADATA: json.dumps(summary).encode()})
    return sink.getvalue()


def read_summary(filesystem: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """What the footer of a shard says; None if there is no such file or it is no whole shard."""
    if not storage.exists(filesystem, path):
        return None
    try:
        with storage.explained(filesystem, path), filesystem.open_input_file(path) as source:
            metadata = pq.read_metadata(source).metadata or {}
    except pa.ArrowInvalid:
        return None
    return cast("dict[str, Any]", json.loads(metadata.get(_METADATA, b"{}")))


def summarise(
    frames: Sequence[Frame], bad: Sequence[tuple[str, str]], vocabulary: Vocabulary, fingerprint: str
) -> dict[str, Any]:
    """What the manifest wants to know of a shard, and what tells whose shard it is.

    bad: token and reason of the keyframes that could not be read; fingerprint: of the job.
    """
    labels = [_label_counts(frame, vocabulary) for frame in frames if frame.labels is not None]
    pairs: dict[str, int] = {}
    for frame in frames:
        seen = np.bincount(frame.pair_pixels[:, 0], minlength=len(frame.cameras))
        for camera, count in zip(frame.cameras, seen.tolist(), strict=True):
            pairs[camera] = pairs.get(camera, 0) + count
    return {
        "schema_version": SCHEMA_VERSION,
        "vocabulary": vocabulary.version,
        "classes": vocabulary.classes,
        "fingerprint": fingerprint,
        "frames": len(frames),
        "points": sum(len(frame.points) for frame in frames),
        "pairs": pairs,
        "labels": np.sum(labels, 0).tolist() if labels else None,
        "bad": bad,
    }


def _label_counts(frame: Frame, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """[C + 1] points of the keyframe itself by label; its sweeps have no labels."""
    assert frame.labels is not None
    counts = np.bincount(frame.labels[frame.keyframe], minlength=len(vocabulary.classes) + 1)
    assert len(counts) == len(vocabulary.classes) + 1, "a label that is not in the vocabulary"
    return counts
