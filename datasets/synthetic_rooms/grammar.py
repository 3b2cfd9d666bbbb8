"""Sentences about the things of a synthetic room, each true of exactly one of them.

The content of a sentence is drawn first (a color, a size, a relation), checked against all things of the same kind,
and only then put into words: a sentence always refers to exactly one thing, though none of its words does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.synthetic_rooms.room import HANGING, Rng, Thing, gap

BESIDE, AROUND = 0.45, 1.0
"""Largest distances, metres, at which two things are next to each other, and left or right of each other."""
COLORED = 0.75
"""Fraction of the sentences that name a color, where that helps."""
WORDS = {
    "next to": ("next to", "beside", "near", "close to"),
    "below": ("under", "below"),
    "left": ("to the left of", "on the left side of"),
    "right": ("to the right of", "on the right side of"),
}
"""Relation -> its phrases. Left and right are as seen along y, from the side of the room with the lowest y."""
TEMPLATES = (
    "this is a{adjectives} {noun} . it is {relation} the {anchor} .",
    "the{adjectives} {noun} is {relation} the {anchor} .",
    "find the{adjectives} {noun} that is {relation} the {anchor} .",
    "there is a{adjectives} {noun} in the room . it stands {relation} the {anchor} .",
)
PLAIN = (
    "this is a{adjectives} {noun} .",
    "there is a{adjectives} {noun} in the room .",
    "find the{adjectives} {noun} in this room .",
)
"""Sentences without a relation."""


@dataclass(frozen=True)
class Saying:
    """The content of a sentence about a thing."""

    color: bool
    size: bool
    relation: str | None = None
    anchor: Thing | None = None


def holds(relation: str, thing: Thing, anchor: Thing) -> bool:
    """Whether a thing is next to, below, left or right of an anchor."""
    if relation == "below":
        return anchor.name in HANGING and anchor.box[2] > thing.box[2] and gap(thing, anchor) < BESIDE
    if relation == "next to":
        return anchor.name not in ("window", "picture") and gap(thing, anchor) < BESIDE
    across = float(anchor.box[0] - thing.box[0]) * (1 if relation == "left" else -1)
    beyond = across > (thing.box[3] + anchor.box[3]) / 2 - 0.1
    return beyond and gap(thing, anchor) < AROUND and abs(thing.box[1] - anchor.box[1]) < 0.6


def meant(things: list[Thing], thing: Thing, saying: Saying) -> list[Thing]:
    """The things of the same kind for which the saying is true."""
    return [
        other
        for other in things
        if other.name == thing.name
        and (not saying.color or other.color == thing.color)
        and (not saying.size or other.large == thing.large)
        and (saying.relation is None or _related(saying, other))
    ]


def _related(saying: Saying, thing: Thing) -> bool:
    assert saying.relation is not None and saying.anchor is not None
    return holds(saying.relation, thing, saying.anchor)


def sayings(things: list[Thing], thing: Thing) -> list[Saying]:
    """All sayings that are true of one thing alone."""
    names = [other.name for other in things]
    anchors = [other for other in things if names.count(other.name) == 1 and other.name != thing.name]
    related = [
        (relation, anchor) for anchor in anchors for relation in WORDS if holds(relation, thing, anchor)
    ]
    unambiguous = []
    for color in (True, False):
        for size in (False, True) if thing.large is not None else (False,):
            plain: list[tuple[str | None, Thing | None]] = [(None, None), *related]
            for relation, anchor in plain:
                saying = Saying(color, size, relation, anchor)
                if meant(things, thing, saying) == [thing]:
                    unambiguous.append(saying)
    return unambiguous


def describe(things: list[Thing], number: int, rng: Rng) -> list[tuple[Thing, str]]:
    """Up to `number` different sentences about a room, three of four about things that are not unique in kind."""
    names = [thing.name for thing in things]
    options = {thing.number: sayings(things, thing) for thing in things}
    several = [thing for thing in things if names.count(thing.name) > 1 and options[thing.number]]
    single = [thing for thing in things if names.count(thing.name) == 1 and options[thing.number]]
    described: dict[str, Thing] = {}
    for _ in range(4 * number):
        group = several if several and (rng.random() < 0.75 or not single) else single
        if len(described) == number or not group:
            break
        thing = group[int(rng.integers(len(group)))]
        colored = rng.random() < COLORED
        choices = [option for option in options[thing.number] if option.color == colored] or options[
            thing.number
        ]
        saying = choices[int(rng.integers(len(choices)))]
        described.setdefault(sentence(thing, saying, rng), thing)
    return [(thing, text) for text, thing in described.items()]


def sentence(thing: Thing, saying: Saying, rng: Rng) -> str:
    """A saying about a thing, in words."""
    adjectives = ""
    if saying.size:
        adjectives += " large" if thing.large else " small"
    if saying.color:
        adjectives += f" {thing.color}"
    templates = PLAIN if saying.relation is None else TEMPLATES
    relation, anchor = "", ""
    if saying.relation is not None and saying.anchor is not None:
        relation, anchor = str(rng.choice(np.array(WORDS[saying.relation]))), saying.anchor.name
    return str(rng.choice(np.array(templates))).format(
        adjectives=adjectives, noun=thing.name, relation=relation, anchor=anchor
    )
