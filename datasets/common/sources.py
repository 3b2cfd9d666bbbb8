"""The data sets of frames that can become shards, opened without importing any other."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from scenelift.samples import outside

if TYPE_CHECKING:
    from scenelift.samples.frame import Source

SOURCES = {"nuscenes": "NuScenes", "semantickitti": "SemanticKITTI", "scannet": "ScanNet"}
"""Data set -> the class of `datasets/NAME/source.py` that opens its root and release."""
OWN = "own"
"""Any other data set, opened by a class from outside."""


def open_source(dataset: str, root: Path, version: str, source: str | None = None) -> Source:
    """The data set at `root`; DataError for what is not there. source: of a data set of one's own, the name of the
    class that reads it (`scenelift.config.outside`)."""
    if source is not None:
        return outside.open_source(source, root, version)
    adapter = getattr(import_module(f"datasets.{dataset}.source"), SOURCES[dataset])
    return cast("Source", adapter(root, version))
