"""The 20 classes of the ScanNet benchmark: their NYU40 ids, names, words and colors."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import read_text
from scenelift.errors import DataError
from scenelift.samples.frame import IGNORED
from scenelift.samples.vocabulary import Vocabulary

TABLE = "scannetv2-labels.combined.tsv"
LAST_ID = 40
"""Largest NYU40 id; 0 is unlabeled."""
NO_CLASS = 255
"""Entry of the label table for ids that NYU40, or the tree's own table, does not have."""

COLORS: dict[int, tuple[int, int, int]] = {
    1: (174, 199, 232),
    2: (152, 223, 138),
    3: (31, 119, 180),
    4: (255, 187, 120),
    5: (188, 189, 34),
    6: (140, 86, 75),
    7: (255, 152, 150),
    8: (214, 39, 40),
    9: (197, 176, 213),
    10: (148, 103, 189),
    11: (196, 156, 148),
    12: (23, 190, 207),
    14: (247, 182, 210),
    16: (219, 219, 141),
    24: (255, 127, 14),
    28: (158, 218, 229),
    33: (44, 160, 44),
    34: (112, 128, 144),
    36: (227, 119, 194),
    39: (82, 84, 163),
}
"""NYU40 ids of the benchmark, in the order of the labels 1..20, and the benchmark's colors, RGB."""

WORDS: dict[str, tuple[str, ...]] = {
    "cabinet": ("cabinet", "cupboard"),
    "sofa": ("sofa", "couch"),
    "bookshelf": ("bookshelf", "bookcase"),
    "picture": ("picture", "painting"),
    "counter": ("counter", "kitchen counter"),
    "refridgerator": ("refrigerator", "fridge"),
    "otherfurniture": ("other furniture", "furniture"),
}
"""Prompt words of classes (the paper's word first) that differ from their name in the table."""


def read_table(path: Path) -> dict[int, str]:
    """The benchmark's ids that a label table lists, in the benchmark's order, and their NYU40 names.

    Raises DataError for a table that is missing, has other columns, or has ambiguous names.
    """
    names: dict[int, str] = {}
    for number, name in _rows(path):
        if names.setdefault(number, name) != name:
            raise DataError(f"{path} calls nyu40id {number} both {names[number]!r} and {name!r}")
    listed = {number: names[number] for number in COLORS if number in names}
    if not listed or "" in listed.values() or len(set(listed.values())) < len(listed):
        raise DataError(f"{path} must give each benchmark class (nyu40id) a nyu40class of its own")
    return listed


def _rows(path: Path) -> list[tuple[int, str]]:
    if not path.exists():
        raise DataError(f"no {path}; put ScanNet's label table there")
    text = read_text(path)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
        return [(int(row["nyu40id"]), row["nyu40class"].strip()) for row in rows]
    except (KeyError, ValueError, AttributeError, TypeError, csv.Error):
        raise DataError(
            f"{path} is not ScanNet's label table: its tab-separated columns nyu40id and nyu40class"
        ) from None


def vocabulary(listed: dict[int, str]) -> Vocabulary:
    """The classes of a table from `read_table`."""
    return Vocabulary(
        name=f"scannet-{len(listed)}",
        classes=tuple(listed.values()),
        words=tuple(WORDS.get(name, (name,)) for name in listed.values()),
        colors=tuple(COLORS[number] for number in listed),
    )


def label_table(listed: dict[int, str]) -> NDArray[np.uint8]:
    """[65536] NYU40 id -> 0 (ignored), 1..C, or NO_CLASS."""
    table = np.full(1 << 16, NO_CLASS, np.uint8)
    table[[number for number in range(LAST_ID + 1) if number not in COLORS]] = IGNORED
    table[list(listed)] = np.arange(1, len(listed) + 1)
    return table
