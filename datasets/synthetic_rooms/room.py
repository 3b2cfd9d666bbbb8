"""One synthetic room: its things with their places, colors and sizes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator

HALF, HEIGHT = 3.5, 2.8
"""Half the width of a room, and its height, metres."""
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (196, 48, 44),
    "blue": (52, 92, 190),
    "green": (64, 150, 72),
    "yellow": (226, 190, 56),
    "white": (236, 234, 228),
    "black": (44, 44, 48),
    "brown": (128, 86, 52),
}
"""Color -> RGB."""
STANDING: dict[str, tuple[float, float, float]] = {
    "cabinet": (0.9, 0.5, 1.1),
    "bed": (2.0, 1.5, 0.6),
    "chair": (0.5, 0.5, 0.9),
    "couch": (1.8, 0.9, 0.8),
    "table": (1.2, 0.8, 0.75),
    "bookshelf": (0.9, 0.35, 1.8),
    "desk": (1.3, 0.65, 0.75),
    "refrigerator": (0.7, 0.7, 1.7),
    "counter": (1.6, 0.6, 0.9),
    "toilet": (0.45, 0.65, 0.8),
    "sink": (0.6, 0.5, 0.9),
    "bathtub": (1.6, 0.75, 0.6),
    "lamp": (0.35, 0.35, 1.4),
    "trash can": (0.3, 0.3, 0.45),
}
"""Thing that stands on the floor -> its mean size, metres."""
HANGING: dict[str, tuple[float, float, float]] = {
    "door": (0.9, 0.1, 2.0),
    "window": (1.2, 0.1, 1.1),
    "picture": (0.6, 0.06, 0.5),
    "curtain": (0.8, 0.12, 2.0),
}
"""Thing that hangs on a wall -> width, depth, height."""
CROWDS = ("chair", "chair", "table", "cabinet", "couch", "lamp", "trash can", "desk", "bookshelf", "bed")
"""Things that may occur several times in a room."""
LARGE, SMALL = 1.3, 0.77
"""Size of large and small things relative to the mean."""


@dataclass(frozen=True)
class Thing:
    """An object of a room."""

    number: int
    """Its objectId."""
    name: str
    """Raw category."""
    box: NDArray[np.float64]
    """[6] centre and size, metres, in the aligned frame: the middle of the floor is the origin."""
    color: str
    large: bool | None = None
    """Whether it is larger (else smaller) than others of its kind; None: of usual size."""


def stream(seed: int, *names: str) -> Rng:
    """A random generator that depends on the seed and the names alone."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def gap(a: Thing, b: Thing) -> float:
    """Horizontal distance between two things, 0 if one is above the other; metres."""
    apart = np.abs(a.box[:2] - b.box[:2]) - (a.box[3:5] + b.box[3:5]) / 2
    return float(np.hypot(*np.clip(apart, 0, None)))


def build(seed: int, name: str) -> list[Thing]:
    """The room of a name."""
    plan = _Plan(stream(seed, name, "room"))
    plan.walls()
    plan.furniture()
    plan.crowds()
    return plan.things


class _Plan:
    """A room under construction."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.things: list[Thing] = []

    def walls(self) -> None:
        """A door, and up to two of each other thing that hangs."""
        for name, limit in (("door", 1), ("window", 2), ("picture", 2), ("curtain", 1)):
            for _ in range(1 if name == "door" else int(self.rng.integers(0, limit + 1))):
                self._hang(name)

    def furniture(self) -> None:
        """Four to eight things, each the only one of its kind: they serve to describe others."""
        kinds = self.rng.permutation(np.array(list(STANDING)))
        for name in kinds[: int(self.rng.integers(4, 9))].tolist():
            self._stand(name, self._color())

    def crowds(self) -> None:
        """Two or three things of each of one to three kinds: distinguished by color, size or place."""
        placed = {thing.name for thing in self.things}
        kinds = [name for name in self.rng.permutation(np.array(CROWDS)).tolist() if name not in placed]
        anchors = [thing for thing in self.things if self._count(thing.name) == 1]
        for name in list(dict.fromkeys(kinds))[: int(self.rng.integers(1, 4))]:
            distinction = str(self.rng.choice(["color", "size", "place"], p=[0.65, 0.1, 0.25]))
            number = 2 if distinction == "size" or self.rng.random() < 0.7 else 3
            colors = self.rng.permutation(np.array(list(COLORS)))
            for i in range(number):
                color = str(colors[i if distinction == "color" else 0])
                beside = anchors[int(self.rng.integers(len(anchors)))] if self.rng.random() < 0.85 else None
                self._stand(name, color, (i == 0) if distinction == "size" else None, beside)

    def _count(self, name: str) -> int:
        return sum(thing.name == name for thing in self.things)

    def _color(self) -> str:
        return str(self.rng.choice(list(COLORS)))

    def _hang(self, name: str) -> None:
        width, depth, height = np.array(HANGING[name]) * self.rng.uniform(0.85, 1.15, 3)
        wall, along = int(self.rng.integers(4)), float(self.rng.uniform(-HALF + 0.8, HALF - 0.8))
        base = 0.0 if name in ("door", "curtain") else float(self.rng.uniform(1.0, 1.3))
        away = (HALF - depth / 2) * (1 if wall % 2 else -1)
        centre = (along, away) if wall < 2 else (away, along)
        size = (width, depth) if wall < 2 else (depth, width)
        self._add(name, np.array([*centre, base + height / 2, *size, height]), self._color(), None)

    def _stand(self, name: str, color: str, large: bool | None = None, beside: Thing | None = None) -> None:
        """Put a thing on the floor, next to another if one is given; if there is no room, it is left out."""
        scale = 1.0 if large is None else (LARGE if large else SMALL)
        size = np.array(STANDING[name]) * scale * self.rng.uniform(0.9, 1.1, 3)
        for _ in range(30):
            wide, deep = size[:2] if self.rng.random() < 0.5 else size[1::-1]
            reach = np.array([wide, deep]) / 2
            if beside is None:
                centre = self.rng.uniform(-HALF + reach + 0.1, HALF - reach - 0.1)
            else:
                centre = self._around(beside, reach)
            box = np.array([*centre, size[2] / 2, wide, deep, size[2]])
            if np.all(np.abs(centre) + reach < HALF - 0.05) and self._add(name, box, color, large):
                return

    def _around(self, thing: Thing, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        """A random place next to a thing, up to 0.35 m away."""
        axis, side = int(self.rng.integers(2)), float(self.rng.choice([-1, 1]))
        far = (thing.box[3:5] / 2 + reach)[axis] + self.rng.uniform(0.05, 0.35)
        centre = thing.box[:2] + self.rng.uniform(-0.5, 0.5, 2) * thing.box[3:5]
        centre[axis] = thing.box[axis] + side * far
        return centre

    def _add(self, name: str, box: NDArray[np.float64], color: str, large: bool | None) -> bool:
        for other in self.things:
            apart = np.abs(box[:3] - other.box[:3]) - (box[3:] + other.box[3:]) / 2
            if (apart < 0.04).all():
                return False
        self.things.append(Thing(len(self.things), name, box, color, large))
        return True
