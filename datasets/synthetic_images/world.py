"""The content of an image: a few things side by side, each with a colored body and a head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from datasets.synthetic_images.config import BODIES, COLORS, HEADS, KINDS, SCENES, Kind
from scenelift.geometry.boxes2d import Boxes

SIZE = (120, 192)
"""(height, width) of all images, pixels."""
_SLOT = 48
"""Pixels from one thing to the next."""

Rng = np.random.Generator


@dataclass(frozen=True)
class Thing:
    """One thing in an image."""

    kind: Kind
    color: str
    box: Boxes
    """[4] around the thing, integer pixels from 0."""
    parts: Boxes
    """[2, 4] body, head."""


@dataclass(frozen=True)
class Picture:
    """The content of an image."""

    scene: str
    things: tuple[Thing, ...]

    def alike(self, thing: Thing) -> list[Thing]:
        """The things of the same kind, itself included."""
        return [other for other in self.things if other.kind == thing.kind]


def draw_picture(rng: Rng) -> Picture:
    """Two to four random things, no two of the same kind and color; a kind often occurs twice, in two colors."""
    chosen: list[tuple[Kind, str]] = []
    count = int(rng.integers(2, 5))
    while len(chosen) < count:
        again = chosen and rng.random() < 0.5
        kind = chosen[-1][0] if again else KINDS[int(rng.integers(len(KINDS)))]
        color = str(rng.choice(list(COLORS)))
        if (kind, color) not in chosen:
            chosen.append((kind, color))
    slots = rng.permutation(SIZE[1] // _SLOT)[:count]
    things = [_place(kind, color, int(slot), rng) for (kind, color), slot in zip(chosen, slots, strict=True)]
    return Picture(str(rng.choice(list(SCENES))), tuple(things))


_UPRIGHT = ("people", "other")


def _place(kind: Kind, color: str, slot: int, rng: Rng) -> Thing:
    """A thing in one of the image's columns. Heads are on top of upright bodies and in front of long ones; they are
    about two fifths of the thing, so that neither part has half of its area."""
    size = rng.uniform(0.75, 1.0)
    share = rng.uniform(0.4, 0.46)
    _, width, height = BODIES[kind.type]
    width, height = round(width * size), round(height * size)
    x = slot * _SLOT + int(rng.integers(0, _SLOT - width + 1))
    y = int(rng.integers(20, SIZE[0] - height - 4))
    if kind.type in _UPRIGHT:
        cut = y + round(share * height)
        parts = [[x, cut, x + width, y + height], [x, y, x + width, cut]]
    else:
        cut = x + round(share * width)
        parts = [[cut, y, x + width, y + height], [x, y, cut, y + height]]
    box = np.array([x, y, x + width, y + height], np.float32)
    return Thing(kind, color, box, np.array(parts, np.float32))


def photograph(picture: Picture, rng: Rng) -> Image.Image:
    """The image, RGB; a thing's color is that of its body."""
    noise = rng.normal(0, 6, (*SIZE, 1)) + np.array(SCENES[picture.scene])
    image = Image.fromarray(noise.clip(0, 255).astype(np.uint8), "RGB")
    canvas = ImageDraw.Draw(image)
    for thing in picture.things:
        body, head = thing.parts
        _draw(canvas, BODIES[thing.kind.type][0], body, COLORS[thing.color])
        _draw(canvas, thing.kind.head, head, HEADS)
    return image


def _draw(canvas: ImageDraw.ImageDraw, shape: str, part: NDArray[np.float32], color: tuple[int, ...]) -> None:
    size = part[2:] - part[:2] - 1
    corners = part[:2] + np.array(OUTLINES[shape]) * size
    canvas.polygon([(x, y) for x, y in corners.tolist()], fill=color, outline=(30, 30, 30))


def _round(first: float = 0.0, last: float = 2 * np.pi) -> list[tuple[float, float]]:
    angles = np.linspace(first, last, 24)
    return [(0.5 + 0.5 * float(np.cos(a)), 0.5 + 0.5 * float(np.sin(a))) for a in angles]


OUTLINES: dict[str, list[tuple[float, float]]] = {
    "rectangle": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "oval": _round(),
    "disc": _round(),
    "dome": [(x, 2 * y) for x, y in _round(np.pi, 2 * np.pi)],
    "tray": [(0, 0), (1, 0), (0.85, 1), (0.15, 1)],
    "triangle": [(0, 1), (0.5, 0), (1, 1)],
    "sail": [(0, 1), (1, 0), (1, 1)],
    "roof": [(0, 1), (0.25, 0), (0.75, 0), (1, 1)],
    "diamond": [(0, 0.5), (0.5, 0), (1, 0.5), (0.5, 1)],
    "hexagon": [(0, 0.5), (0.25, 0), (0.75, 0), (1, 0.5), (0.75, 1), (0.25, 1)],
    "arrow": [(0, 0.5), (0.5, 0), (1, 0.5), (0.7, 0.5), (0.7, 1), (0.3, 1), (0.3, 0.5)],
    "cross": [
        *((0.35, 0), (0.65, 0), (0.65, 0.35), (1, 0.35), (1, 0.65), (0.65, 0.65)),
        *((0.65, 1), (0.35, 1), (0.35, 0.65), (0, 0.65), (0, 0.35), (0.35, 0.35)),
    ],
    "cup": [(0, 0), (0.3, 0.5), (0.7, 0.5), (1, 0), (1, 1), (0, 1)],
}
"""Shape -> corners as fractions of its width and height."""
