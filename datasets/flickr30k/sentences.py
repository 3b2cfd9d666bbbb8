"""Flickr30K Entities' sentences: the grammar of annotated chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scenelift.errors import FrameError

UNANNOTATED = "0"
"""The chain of phrases that were not annotated in the image; each refers to a thing of its own."""
_CHUNK = re.compile(r"\[/EN#(\d+)((?:/[^/\s\]]++)++)\s++([^\]]*+)\]")
"""Possessive, so that an open bracket before many blanks takes no more time than any other line."""


@dataclass(frozen=True)
class Chunk:
    """A noun phrase of a sentence file."""

    text: str
    chain: str
    """Phrases of one image with the same chain refer to the same thing."""
    types: tuple[str, ...]


def read_sentence(name: str, line: str) -> tuple[str, list[Chunk]]:
    """A line of a sentence file -> the plain sentence, and its chunks in order (ckd.md 2.1).

    `[/EN#6729/vehicles/scene the subway]` is the chunk "the subway" of chain 6729 with two types. FrameError,
    with the name of the file, for brackets that are not a chunk.
    """
    chunks = [
        Chunk(" ".join(words.split()), chain, tuple(types.strip("/").split("/")))
        for chain, types, words in _CHUNK.findall(line)
    ]
    plain = " ".join(_CHUNK.sub(lambda match: match.group(3).strip(), line).split())
    if "[/EN#" in plain or not all(chunk.text for chunk in chunks):
        raise FrameError(f"{name} has a phrase that is not [/EN#CHAIN/TYPE words]: {line.strip()[:60]}")
    return plain, chunks
