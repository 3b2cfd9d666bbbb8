"""Sentences about an image, from a small grammar, in Flickr30K Entities' notation."""

from __future__ import annotations

from datasets.synthetic_images.world import Picture, Rng, Thing

SENTENCES = 5
"""Sentences per image, as in Flickr30K."""
_FILLERS = ("the picture", "the day", "the view")
_ALONE = ("{0} is in {scene} .", "In {scene} there is {0} .", "Someone likes {filler} of {0} .")
_TWO = (
    "{0} stands near {1} .",
    "In {scene} , {0} is next to {1} .",
    "{0} and {1} are in {scene} .",
    "There is {0} behind {1} .",
)
_THREE = ("{0} , {1} and {2} are in {scene} .", "{0} is between {1} and {2} .")


def describe(picture: Picture, rng: Rng) -> list[str]:
    """Five annotated sentences. Thing i has chain i + 1, the scene the next one; fillers have chain 0."""
    return [_sentence(picture, rng) for _ in range(SENTENCES)]


def _sentence(picture: Picture, rng: Rng) -> str:
    count = int(rng.integers(1, min(3, len(picture.things)) + 1))
    chosen = rng.permutation(len(picture.things))[:count].tolist()
    form = str(rng.choice((_ALONE, _TWO, _THREE)[count - 1]))
    chunks = [
        _chunk(i + 1, picture.things[i].kind.type, _name(picture, picture.things[i], rng)) for i in chosen
    ]
    scene = _chunk(len(picture.things) + 1, "scene", f"the {picture.scene}")
    filler = _chunk(0, "notvisual", str(rng.choice(_FILLERS)))
    return form.format(*chunks, scene=scene, filler=filler)


def _name(picture: Picture, thing: Thing, rng: Rng) -> str:
    """ "a red dog"; the color is sometimes left out if the thing is the only one of its kind."""
    colored = len(picture.alike(thing)) > 1 or rng.random() < 0.6
    words = [thing.color] if colored else []
    words.append(str(rng.choice(thing.kind.words)))
    return " ".join([str(rng.choice(["a", "the"])), *words])


def _chunk(chain: int, kind: str, words: str) -> str:
    return f"[/EN#{chain}/{kind} {words}]"
