"""The data sets of frames that can become shards, opened without importing any other."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from scenelift.samples.frame import Source

SOURCES = {"nuscenes": "NuScenes", "semantickitti": "SemanticKITTI", "scannet": "ScanNet"}
"""Data set -> the class of `datasets/NAME/source.py` that opens its root and release."""


def open_source(dataset: str, root: Path, version: str) -> Source:
    """The data set at `root`; DataError for what is not there."""
    adapter = getattr(import_module(f"datasets.{dataset}.source"), SOURCES[dataset])
    return cast("Source", adapter(root, version))
