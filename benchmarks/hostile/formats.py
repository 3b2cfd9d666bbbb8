"""Every way to break a file, by its format."""

from __future__ import annotations

from pathlib import Path

from benchmarks.hostile import arrays, images, meshes, texts
from benchmarks.hostile.mutations import BINARY, CUT, PLACES, TEXT, WHOLE, Mutation

FORMATS: dict[str, dict[str, Mutation]] = {
    "json": texts.JSON,
    "jsonl": texts.LINES,
    "csv": texts.TABLE,
    "tsv": texts.TABLE,
    "xml": texts.XML,
    "yaml": texts.YAML,
    "npz": arrays.ARRAYS,
    "bin": arrays.POINTS,
    "label": arrays.LABELS,
    "png": images.IMAGES,
    "jpg": images.IMAGES,
    "ply": meshes.MESH,
    "parquet": meshes.PARQUET,
    "pt": meshes.TORCH,
    "hdf5": arrays.HDF5,
    "safetensors": meshes.WEIGHTS,
}
"""Ending of a file's name -> its own ways, besides those of any file or text."""


def mutations_of(path: Path) -> dict[str, Mutation]:
    """Every way to break the file at a path, by name: those of any file, and those of its format."""
    ending = path.suffix.removeprefix(".")
    known = dict(WHOLE)
    if ending in BINARY:
        known |= {name: Mutation(known[name].apply, "lost") for name in CUT}
    else:
        known["backwards"] = Mutation(known["backwards"].apply)
    text = {} if ending in BINARY else TEXT
    if ending == "jsonl":  # any numbers may be meant, and lines that are cut are left out
        text = {name: Mutation(way.apply) for name, way in TEXT.items()}
        known["empty"] = Mutation(known["empty"].apply)
    own = FORMATS.get(ending, {})
    if path.stem.endswith("_lidarseg"):  # any order of labels may be meant
        own, known["backwards"] = arrays.LABELS, Mutation(known["backwards"].apply)
    return {**PLACES, **known, **text, **own}
