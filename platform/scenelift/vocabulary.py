"""The class list of a data set, the words that prompts are made of, and the colours it is drawn with."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)


@functools.cache
def _templates() -> dict[str, tuple[str, ...]]:
    import open_clip  # seconds, which the processes that read and write shards can spare

    # open_clip's templates are functions; asking them for "{}" gives their text.
    imagenet = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
    return {
        "clip2scene": (*imagenet, *_SCENE),
        "tiny": (
            "a photo of a {}.",
            "a {} in the street.",
            "there is a {} here.",
            "one {} seen by a camera.",
        ),
        "plain": ("{}",),
    }


def __getattr__(name: str) -> Any:
    """`TEMPLATES`: prompt ensembles by name: the 85 of the CLIP2Scene paper, those of the tiny teacher, the
    bare word. Made at its first use."""
    if name == "TEMPLATES":
        return _templates()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Vocabulary:
    """What the labels 1..C of a data set mean."""

    name: str
    """Name of the class list, such as nuscenes-16."""
    classes: tuple[str, ...]
    """[C] what tables and pictures call a class; label c is classes[c - 1]."""
    words: tuple[tuple[str, ...], ...]
    """[C] one or more words a class is prompted with; their text embeddings are averaged."""
    colours: tuple[tuple[int, int, int], ...]
    """[C] RGB 0..255."""

    def __post_init__(self) -> None:
        assert len(self.classes) == len(self.words) == len(self.colours) > 0
        assert all(self.words), "every class needs a word"

    @property
    def version(self) -> str:
        """Changes with every class and every word: nuscenes-16-1a2b3c4d."""
        text = json.dumps([self.classes, self.words])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def prompts(self, templates: str) -> tuple[tuple[str, ...], ...]:
        """[C][words x templates] the sentences of each class under a named ensemble of `TEMPLATES`."""
        return tuple(
            tuple(template.format(word) for word in words for template in _templates()[templates])
            for words in self.words
        )
