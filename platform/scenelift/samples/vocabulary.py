"""The class list of a data set, the words that prompts are made of, and the colors of pictures."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from scenelift.errors import DataError

_LARGEST = 1 << 20
"""Bytes of a file of prompt words."""
_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)


@functools.cache
def prompt_templates() -> dict[str, tuple[str, ...]]:
    """By name: the 85 prompts of the paper, those of the tiny teacher, the bare word."""
    import open_clip  # slow to import, and not needed to read or write shards

    # open_clip's templates are functions; calling them with "{}" gives their text.
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


@dataclass(frozen=True)
class Vocabulary:
    """Meaning of the labels 1..C of a data set."""

    name: str
    """Name of the class list, such as nuscenes-16."""
    classes: tuple[str, ...]
    """[C] name of each class in tables and pictures; label c is classes[c - 1]."""
    words: tuple[tuple[str, ...], ...]
    """[C] one or more words that a class is prompted with; their text embeddings are averaged."""
    colors: tuple[tuple[int, int, int], ...]
    """[C] RGB 0..255."""

    def __post_init__(self) -> None:
        assert len(self.classes) == len(self.words) == len(self.colors) > 0
        assert all(self.words), "every class needs a word"

    @property
    def version(self) -> str:
        """Changes with every class and every word: nuscenes-16-1a2b3c4d."""
        text = json.dumps([self.classes, self.words])
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def prompts(self, templates: str) -> tuple[tuple[str, ...], ...]:
        """[C][words x templates] the sentences of each class under a named ensemble of `prompt_templates`."""
        return tuple(
            tuple(template.format(word) for word in words for template in prompt_templates()[templates])
            for words in self.words
        )


def with_words(vocabulary: Vocabulary, path: Path) -> Vocabulary:
    """The vocabulary with words from a JSON file, {class: [words]}, if there is one; DataError if it does not
    fit."""
    if not os.path.lexists(path):
        return vocabulary
    if not path.is_file() or path.stat().st_size > _LARGEST:  # reading a pipe would wait for ever
        raise DataError(f"{path} is not a file of some words")
    try:
        words = {name: _words(values) for name, values in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        form = '{class: [words]} as JSON, such as {"car": ["car", "van"]}'
        raise DataError(f"{path} must be {form}") from None
    if unknown := sorted(set(words) - set(vocabulary.classes)):
        raise DataError(f"{path} has an unknown class {unknown[0]}; known: {', '.join(vocabulary.classes)}")
    merged = dict(zip(vocabulary.classes, vocabulary.words, strict=True)) | words
    return dataclasses.replace(vocabulary, words=tuple(merged.values()))


def _words(values: object) -> tuple[str, ...]:
    if isinstance(values, list) and values and all(isinstance(word, str) and word.strip() for word in values):
        return tuple(values)
    raise TypeError
