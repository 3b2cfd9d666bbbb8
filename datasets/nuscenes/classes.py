"""The 16 classes of nuScenes-lidarseg, the 32 categories that they group, their words and colors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError
from scenelift.samples.frame import IGNORED
from scenelift.samples.vocabulary import Vocabulary

NO_CATEGORY = 255
"""Entry of the label table for bytes without a category."""


@dataclass(frozen=True)
class _Class:
    categories: tuple[str, ...]
    words: tuple[str, ...]
    color: tuple[int, int, int]


CLASSES: dict[str, _Class] = {
    "barrier": _Class(("movable_object.barrier",), ("barrier", "road barrier"), (112, 128, 144)),
    "bicycle": _Class(("vehicle.bicycle",), ("bicycle",), (220, 20, 60)),
    "bus": _Class(("vehicle.bus.bendy", "vehicle.bus.rigid"), ("bus",), (255, 127, 80)),
    "car": _Class(("vehicle.car",), ("car",), (255, 158, 0)),
    "construction_vehicle": _Class(
        ("vehicle.construction",), ("construction vehicle", "excavator", "crane"), (233, 150, 70)
    ),
    "motorcycle": _Class(("vehicle.motorcycle",), ("motorcycle", "scooter"), (255, 61, 99)),
    "pedestrian": _Class(
        (
            "human.pedestrian.adult",
            "human.pedestrian.child",
            "human.pedestrian.construction_worker",
            "human.pedestrian.police_officer",
        ),
        ("pedestrian", "person"),
        (0, 0, 230),
    ),
    "traffic_cone": _Class(("movable_object.trafficcone",), ("traffic cone",), (47, 79, 79)),
    "trailer": _Class(("vehicle.trailer",), ("trailer", "semi-trailer"), (255, 211, 110)),
    "truck": _Class(("vehicle.truck",), ("truck",), (150, 60, 20)),
    "driveable_surface": _Class(
        ("flat.driveable_surface",), ("driveable surface", "road", "street"), (0, 207, 191)
    ),
    "other_flat": _Class(("flat.other",), ("other flat", "traffic island"), (175, 0, 75)),
    "sidewalk": _Class(("flat.sidewalk",), ("sidewalk", "pavement"), (75, 0, 75)),
    "terrain": _Class(("flat.terrain",), ("terrain", "grass"), (112, 180, 60)),
    "manmade": _Class(("static.manmade",), ("manmade", "building", "wall", "pole"), (222, 184, 135)),
    "vegetation": _Class(("static.vegetation",), ("vegetation", "tree", "bush"), (0, 100, 0)),
}
"""Class -> its categories, prompt words (the paper's first), and color in pictures, in the order of the
nuScenes-lidarseg challenge."""

IGNORED_CATEGORIES = frozenset(
    {
        "noise",
        "animal",
        "human.pedestrian.personal_mobility",
        "human.pedestrian.stroller",
        "human.pedestrian.wheelchair",
        "movable_object.debris",
        "movable_object.pushable_pullable",
        "static_object.bicycle_rack",
        "static.other",
        "vehicle.ego",
        "vehicle.emergency.ambulance",
        "vehicle.emergency.police",
    }
)

_CLASS_OF = {category: name for name, entry in CLASSES.items() for category in entry.categories}


def _class_of(category: str) -> str | None:
    if category not in _CLASS_OF and category not in IGNORED_CATEGORIES:
        raise DataError(
            f"category.json has an unknown category {category}; use the names of nuScenes, or add it to"
            " datasets/nuscenes/classes.py"
        )
    return _CLASS_OF.get(category)


def vocabulary(categories: Iterable[str]) -> Vocabulary:
    """The classes of the categories, in the challenge's order.

    Raises DataError for a category that nuScenes does not have.
    """
    present = {_class_of(category) for category in categories}
    names = tuple(name for name in CLASSES if name in present)
    if not names:
        raise DataError("category.json has no categories of the nuScenes-lidarseg classes")
    return Vocabulary(
        name=f"nuscenes-{len(names)}",
        classes=names,
        words=tuple(CLASSES[name].words for name in names),
        colors=tuple(CLASSES[name].color for name in names),
    )


FULL = vocabulary(_CLASS_OF)
"""All 16 classes."""


def label_table(indices: dict[str, int], vocabulary: Vocabulary) -> NDArray[np.uint8]:
    """[256] raw label byte -> 0 (ignored), 1..C, or NO_CATEGORY; `indices` is category -> label byte."""
    table = np.full(256, NO_CATEGORY, np.uint8)
    for category, index in indices.items():
        name = _class_of(category)
        table[index] = IGNORED if name is None else vocabulary.classes.index(name) + 1
    return table
