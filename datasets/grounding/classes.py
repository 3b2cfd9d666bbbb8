"""The 18 object classes of ScanRefer's benchmark, and the class of a name (ws3dvg.md 2.7)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import read_text
from datasets.scannet.classes import LAST_ID
from scenelift.errors import DataError
from scenelift.samples.room import Floats

TABLE = "scannetv2-labels.combined.tsv"

CLASSES = (
    "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "desk",
    "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "others",
)  # fmt: skip
OTHERS = CLASSES.index("others")

_SPELLED = {"refridgerator": "refrigerator"}
"""The label table's spelling -> ours."""
NO_OBJECT = frozenset({1, 2, 22})
"""NYU40 ids of wall, floor and ceiling, which no sentence refers to."""


@dataclass(frozen=True)
class ClassMap:
    """Raw category -> class 0..17, from a label table."""

    number: dict[str, int]
    """Raw category -> class."""
    benchmark: dict[str, int]
    """The same as in ScanRefer's code, which takes the table's spelling as it is: `refridgerator` is none of its
    classes, so refrigerators are `others`."""
    nyu40: dict[str, int]
    """Raw category -> NYU40 id."""

    @classmethod
    def read(cls, path: Path) -> ClassMap:
        """From ScanNet's table (columns raw_category, nyu40id, nyu40class); DataError for any other file."""
        if not path.exists():
            raise DataError(f"no {path}; put ScanNet's label table there")
        text = read_text(path)
        try:
            rows = list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
            names = {row["raw_category"]: row["nyu40class"] for row in rows}
            nyu40 = {row["raw_category"]: int(row["nyu40id"]) for row in rows}
            if not all(0 <= number <= LAST_ID for number in nyu40.values()):
                raise ValueError
        except (AttributeError, KeyError, ValueError, TypeError, csv.Error):
            raise DataError(
                f"{path} is not ScanNet's label table: its columns raw_category, nyu40id and nyu40class"
            ) from None
        mended = {raw: _number(_SPELLED.get(name, name)) for raw, name in names.items()}
        return cls(mended, {raw: _number(name) for raw, name in names.items()}, nyu40)

    def category(self, name: str) -> int:
        """Class 0..17 of an object's name, "_" for spaces: of the full name, else of its last word that is in the
        table, else `others`."""
        return _look_up(self.number, name)

    def annotated(self, name: str) -> int:
        """The same by the benchmark's map: the class that WS-3DVG's code trains a sentence with."""
        return _look_up(self.benchmark, name)

    def for_unique(self, name: str) -> int:
        """Class by which ScanRefer counts an object as unique or not: the benchmark's, of the full name alone."""
        return self.benchmark.get(" ".join(_words(name)), OTHERS)

    def noun(self, tokens: Sequence[str], anchors: NDArray[np.bool_]) -> tuple[int, int]:
        """Class 0..17 of a sentence's head noun and the index of its last word; -1, -1 if no category of the table
        occurs.

        The rule: the first one or two words that are a category in the table and not `anchors` ([T], words in a
        prepositional phrase); if all are anchors, the first of them. A plural is read as its singular.
        """
        matches = [(i, *known) for i in range(len(tokens)) if (known := self._at(tokens, i)) is not None]
        outside = [named for named in matches if not anchors[named[0]]]
        first = (outside or matches or [(0, -1, -1)])[0]
        return first[1:]

    def _at(self, tokens: Sequence[str], i: int) -> tuple[int, int] | None:
        """Class and last index of the category that begins at a token."""
        for last in (i + 1, i):
            name = " ".join(tokens[i : last + 1])
            for form in (name, name.removesuffix("s")):
                if last < len(tokens) and form in self.number and self.nyu40[form] not in NO_OBJECT:
                    return self.number[form], last
        return None


def to_classes(logits: Floats, names: Sequence[str]) -> Floats:
    """[M, C] logits of other classes -> [M, 18]: the maximum over those with the class's name (`others`: the rest),
    or the row's minimum if there are none."""
    best = np.repeat(logits.min(1, keepdims=True), len(CLASSES), 1)
    for name, column in zip(names, logits.T, strict=True):
        number = _number(_SPELLED.get(name, name))
        best[:, number] = np.maximum(best[:, number], column)
    return best


def _words(name: str) -> list[str]:
    return name.replace("_", " ").split()


def _look_up(classes: dict[str, int], name: str) -> int:
    words = _words(name)
    known = next((each for each in (" ".join(words), *reversed(words)) if each in classes), None)
    return OTHERS if known is None else classes[known]


def _number(name: str) -> int:
    return CLASSES.index(name) if name in CLASSES[:OTHERS] else OTHERS
