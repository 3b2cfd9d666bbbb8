"""The 19 classes of SemanticKITTI's single-scan benchmark, the raw labels that they group, words and colors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.frame import IGNORED
from scenelift.samples.vocabulary import Vocabulary

NO_LABEL = 255
"""Entry of the label table for numbers that SemanticKITTI does not use."""


@dataclass(frozen=True)
class _Class:
    raw: tuple[int, ...]
    words: tuple[str, ...]
    color: tuple[int, int, int]


CLASSES: dict[str, _Class] = {
    "car": _Class((10, 252), ("car",), (100, 150, 245)),
    "bicycle": _Class((11,), ("bicycle",), (100, 230, 245)),
    "motorcycle": _Class((15,), ("motorcycle",), (30, 60, 150)),
    "truck": _Class((18, 258), ("truck",), (80, 30, 180)),
    "other-vehicle": _Class((13, 16, 20, 256, 257, 259), ("other vehicle", "bus", "trailer"), (0, 0, 255)),
    "person": _Class((30, 254), ("person", "pedestrian"), (255, 30, 30)),
    "bicyclist": _Class((31, 253), ("bicyclist",), (255, 40, 200)),
    "motorcyclist": _Class((32, 255), ("motorcyclist",), (150, 30, 90)),
    "road": _Class((40, 60), ("road", "street"), (255, 0, 255)),
    "parking": _Class((44,), ("parking", "parking space"), (255, 150, 255)),
    "sidewalk": _Class((48,), ("sidewalk", "pavement"), (75, 0, 75)),
    "other-ground": _Class((49,), ("other ground", "traffic island"), (175, 0, 75)),
    "building": _Class((50,), ("building", "wall"), (255, 200, 0)),
    "fence": _Class((51,), ("fence",), (255, 120, 50)),
    "vegetation": _Class((70,), ("vegetation", "tree", "bush"), (0, 175, 0)),
    "trunk": _Class((71,), ("trunk", "tree trunk"), (135, 60, 0)),
    "terrain": _Class((72,), ("terrain", "grass"), (150, 240, 80)),
    "pole": _Class((80,), ("pole",), (255, 240, 150)),
    "traffic-sign": _Class((81,), ("traffic sign",), (255, 0, 0)),
}
"""Class -> its raw labels (moving things have a second one), prompt words (the paper's first), and RGB color in the
benchmark; in the benchmark's order."""

IGNORED_LABELS = (0, 1, 52, 99)
"""Unlabeled, outlier, other structure, other object."""

VOCABULARY = Vocabulary(
    name=f"semantickitti-{len(CLASSES)}",
    classes=tuple(CLASSES),
    words=tuple(entry.words for entry in CLASSES.values()),
    colors=tuple(entry.color for entry in CLASSES.values()),
)


def _label_table() -> NDArray[np.uint8]:
    table = np.full(1 << 16, NO_LABEL, np.uint8)
    table[list(IGNORED_LABELS)] = IGNORED
    for label, entry in enumerate(CLASSES.values(), 1):
        table[list(entry.raw)] = label
    return table


LABEL_TABLE = _label_table()
"""[65536] raw label (the lower 16 bits) -> 0 (ignored), 1..19, or NO_LABEL."""
