"""Things in the street: each function draws one thing at random and returns its parts.

A part is placed in the thing's own frame: x ahead, y left, z up from the ground it stands on, metres.
Shapes overlap between classes on purpose (posts like people, hedges like walls, walls like barriers), and
colors never reveal a class.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from datasets.synthetic.primitives import Kind

Color = tuple[float, float, float]
Triple = tuple[float, float, float]
Rng = np.random.Generator


class Texture(IntEnum):
    PLAIN = 0
    CAR = 1
    """Wheels on the sides, lamps at the ends."""
    GLASS = 2
    """Panes with pillars."""
    BUS = 3
    """A band of windows, wheels."""
    CAB = 4
    """A windscreen high up, wheels."""
    FACADE = 5
    """Rows of windows."""
    STRIPES = 6
    """Alternating along the side."""
    BANDS = 7
    """Alternating with height."""
    LEAVES = 8
    """Blotches."""
    CARGO = 9
    """Wheels far back, faint ribs."""


@dataclass(frozen=True)
class Part:
    """One primitive of a thing."""

    kind: Kind
    centre: Triple
    size: Triple
    color: Color
    texture: Texture = Texture.PLAIN


def box(centre: Triple, size: Triple, color: Color, texture: Texture = Texture.PLAIN) -> Part:
    return Part(Kind.BOX, centre, size, color, texture)


def paint(rng: Rng) -> Color:
    """Any color: half of all paint is white, grey or black."""
    if rng.random() < 0.5:
        grey = rng.uniform(0.08, 0.92)
        return (grey, grey, grey * rng.uniform(0.95, 1.05))
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.95), rng.uniform(0.25, 0.9))


def masonry(rng: Rng) -> Color:
    """Concrete, plaster, brick - and sometimes green."""
    hue = rng.uniform(0.2, 0.6) if rng.random() < 0.15 else rng.uniform(0.0, 0.14)
    return colorsys.hsv_to_rgb(hue, rng.uniform(0.0, 0.5), rng.uniform(0.3, 0.85))


def foliage(rng: Rng) -> Color:
    """Green, or autumn."""
    hue = rng.uniform(0.02, 0.15) if rng.random() < 0.25 else rng.uniform(0.18, 0.4)
    return colorsys.hsv_to_rgb(hue, rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.6))


def car(rng: Rng) -> list[Part]:
    """A car, or a van in a quarter of the cases."""
    color = paint(rng)
    length, width = rng.uniform(3.7, 4.9), rng.uniform(1.65, 1.95)
    if rng.random() < 0.25:
        height = rng.uniform(1.9, 2.3)
        nose = length * 0.2
        return [
            box((-nose / 2, 0, 0.18 + height / 2), (length - nose, width, height - 0.18), color, Texture.CAB),
            box((length / 2 - nose / 2, 0, 0.65), (nose, width * 0.95, 0.9), color),
        ]
    waist, height = rng.uniform(0.8, 0.95), rng.uniform(1.4, 1.7)
    cabin = length * rng.uniform(0.45, 0.7)
    back = rng.uniform(-0.25, -0.05) * (length - cabin)
    return [
        box((0, 0, (0.18 + waist) / 2), (length, width, waist - 0.18), color, Texture.CAR),
        box((back, 0, (waist + height) / 2), (cabin, width * 0.86, height - waist), color, Texture.GLASS),
    ]


def bus(rng: Rng) -> list[Part]:
    """One long box with a band of windows."""
    length, width, height = rng.uniform(8.5, 12), rng.uniform(2.4, 2.6), rng.uniform(2.8, 3.3)
    color = paint(rng)
    body = box((0, 0, 0.25 + height / 2), (length, width, height - 0.25), color, Texture.BUS)
    unit = box((rng.uniform(-2, 2), 0, height + 0.25), (2.0, 1.6, 0.25), color)
    return [body, unit] if rng.random() < 0.6 else [body]


def truck(rng: Rng) -> list[Part]:
    """A cab, a gap, and a cargo box, or a low bed with a load."""
    width, cab = rng.uniform(2.2, 2.55), rng.uniform(1.6, 2.1)
    length, height = rng.uniform(4.2, 7.0), rng.uniform(2.9, 3.7)
    front = (length + cab + 0.3) / 2
    color, cargo = paint(rng), paint(rng)
    top = rng.uniform(2.3, 2.9)
    parts = [
        box((front - cab / 2, 0, (0.4 + top) / 2), (cab, width, top - 0.4), color, Texture.CAB),
        box((-0.2, 0, 0.75), (length + cab - 0.4, width * 0.8, 0.35), (0.12, 0.12, 0.12), Texture.CARGO),
    ]
    middle = -front + length / 2
    parts.append(box((middle - length * 0.2, 0, 0.5), (1.1, width * 0.96, 1.0), (0.1, 0.1, 0.1)))
    if rng.random() < 0.7:
        parts.append(
            box((middle, 0, (0.95 + height) / 2), (length, width, height - 0.95), cargo, Texture.CARGO)
        )
    else:
        parts.append(box((middle, 0, 1.3), (length, width, 0.7), cargo, Texture.CARGO))
        parts.append(Part(Kind.ELLIPSOID, (middle, 0, 1.6), (length * 0.9, width * 0.9, 1.8), paint(rng)))
    return parts


def pedestrian(rng: Rng) -> list[Part]:
    """Torso, legs in mid-stride, head."""
    height, girth = rng.uniform(1.5, 1.95), rng.uniform(0.42, 0.62)
    skin = colorsys.hsv_to_rgb(rng.uniform(0.04, 0.09), rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.9))
    hip, neck, stride = 0.48 * height, 0.86 * height, rng.uniform(0, 0.25)
    trousers, leg = paint(rng), (0.17, 0.17, hip)
    return [
        Part(
            Kind.ELLIPSOID, (0, 0, (hip + neck) / 2), (girth * 0.65, girth, (neck - hip) * 1.25), paint(rng)
        ),
        Part(Kind.CYLINDER, (stride, 0.1, hip / 2), leg, trousers),
        Part(Kind.CYLINDER, (-stride, -0.1, hip / 2), leg, trousers),
        Part(Kind.ELLIPSOID, (0, 0, height - 0.13), (0.22, 0.22, 0.27), skin),
    ]


def barrier(rng: Rng, style: int, colors: tuple[Color, Color]) -> list[Part]:
    """One section of a row: style 0 a concrete block, 1 a plank on legs, 2 a striped plastic wall."""
    length, height = rng.uniform(1.8, 2.2), rng.uniform(0.85, 1.1)
    if style == 0:
        return [
            box((0, 0, 0.2), (length, 0.62, 0.4), colors[0]),
            box((0, 0, (0.4 + height) / 2), (length, 0.3, height - 0.4), colors[0]),
        ]
    if style == 1:
        legs = [box((side * length * 0.4, 0, 0.35), (0.1, 0.5, 0.7), colors[1]) for side in (-1, 1)]
        return [box((0, 0, height - 0.25), (length, 0.12, 0.5), colors[0], Texture.STRIPES), *legs]
    return [box((0, 0, height / 2), (length, 0.45, height), colors[0], Texture.STRIPES)]


def cone(rng: Rng, color: Color) -> list[Part]:
    """A traffic cone on its foot."""
    height, radius = rng.uniform(0.7, 1.0), rng.uniform(0.2, 0.28)
    return [
        Part(Kind.CONE, (0, 0, 0.04 + height / 2), (2 * radius, 2 * radius, height), color, Texture.BANDS),
        box((0, 0, 0.03), (2.5 * radius, 2.5 * radius, 0.06), (0.15, 0.15, 0.15)),
    ]


def building(rng: Rng, length: float, depth: float) -> list[Part]:
    """A house with windows, sometimes with a step back at the top."""
    height, color = rng.uniform(3.5, 16), masonry(rng)
    texture = Texture.FACADE if rng.random() < 0.8 else Texture.PLAIN
    parts = [box((0, 0, height / 2 - 0.5), (length, depth, height + 1), color, texture)]
    if rng.random() < 0.4:
        parts.append(box((0, 0, height + 1), (length * 0.7, depth * 0.7, 2), masonry(rng), texture))
    return parts


def wall(rng: Rng, length: float) -> list[Part]:
    """A garden wall; low ones look like barriers, short high ones like trucks."""
    height, texture = rng.uniform(0.7, 2.4), rng.choice([Texture.PLAIN, Texture.PLAIN, Texture.BANDS])
    return [box((0, 0, height / 2), (length, rng.uniform(0.2, 0.5), height), masonry(rng), Texture(texture))]


def pole(rng: Rng) -> list[Part]:
    """A lamp post or a sign."""
    height, radius, grey = rng.uniform(3.5, 7), rng.uniform(0.06, 0.16), rng.uniform(0.15, 0.7)
    color = (grey, grey, grey)
    post = Part(Kind.CYLINDER, (0, 0, height / 2), (2 * radius, 2 * radius, height), color)
    if rng.random() < 0.5:
        return [post, box((0.0, 0.9, height), (0.25, 2.0, 0.15), color)]
    return [post, box((0.1, 0, min(height, 3) - 0.4), (0.06, 0.8, 0.8), paint(rng))]


def furniture(rng: Rng) -> list[Part]:
    """A post as tall and thick as a person, a bin, or a kiosk."""
    kind = rng.random()
    if kind < 0.5:
        width, height = rng.uniform(0.25, 0.5), rng.uniform(1.0, 2.0)
        return [Part(Kind.CYLINDER, (0, 0, height / 2), (width, width, height), paint(rng))]
    if kind < 0.85:
        width, height = rng.uniform(0.5, 0.8), rng.uniform(0.8, 1.3)
        return [box((0, 0, height / 2), (width, width, height), paint(rng))]
    length, height = rng.uniform(2, 4), rng.uniform(2.3, 2.8)
    return [box((0, 0, height / 2), (length, 1.4, height), masonry(rng), Texture.FACADE)]


def tree(rng: Rng) -> list[Part]:
    """Broad-leaved, or a conifer in a quarter of the cases."""
    bark, leaf = (0.25, 0.2, 0.16), foliage(rng)
    stem, width = rng.uniform(1.6, 3.0), rng.uniform(0.2, 0.5)
    trunk = Part(Kind.CYLINDER, (0, 0, stem / 2), (width, width, stem), bark)
    spread, height = rng.uniform(2.2, 4.5), rng.uniform(2.5, 5)
    if rng.random() < 0.25:
        crown = (spread * 0.8, spread * 0.8, height + 1)
        return [trunk, Part(Kind.CONE, (0, 0, stem * 0.5 + height / 2), crown, leaf, Texture.LEAVES)]
    crowns = [
        Part(Kind.ELLIPSOID, (0, 0, stem + height * 0.4), (spread, spread, height), leaf, Texture.LEAVES)
    ]
    if rng.random() < 0.6:
        x, y = rng.uniform(-0.3, 0.3, 2) * spread
        size = (spread * 0.7, spread * 0.7, height * 0.7)
        crowns.append(Part(Kind.ELLIPSOID, (x, y, stem + height * 0.25), size, foliage(rng), Texture.LEAVES))
    return [trunk, *crowns]


def bush(rng: Rng) -> list[Part]:
    """A round bush; small ones are as tall as a cone, narrow ones as a person."""
    width, height = rng.uniform(0.6, 2.2), rng.uniform(0.6, 2.0)
    return [Part(Kind.ELLIPSOID, (0, 0, height * 0.42), (width, width, height), foliage(rng), Texture.LEAVES)]


def hedge(rng: Rng, length: float) -> list[Part]:
    """A hedge, shaped like a wall or a barrier."""
    height, width = rng.uniform(0.7, 2.2), rng.uniform(0.5, 1.1)
    return [box((0, 0, height / 2), (length, width, height), foliage(rng), Texture.LEAVES)]
