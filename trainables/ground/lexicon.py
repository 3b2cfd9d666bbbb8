"""The vocabulary of a grounder: words with frozen vectors."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.errors import DataError, TeacherError
from scenelift.io.console import say
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.open_clip_internals import encode_text, set_activation
from scenelift.teachers.weights import LoadedClip, load_clip
from trainables.common.glove import read_glove
from trainables.ground.config import LexiconConfig

PADDING, UNKNOWN, SPECIAL = 0, 1, 2
"""Ids of padding and of unknown words; known words have ids from SPECIAL."""
SPELLING = 64
"""Channels of the part of a vector that depends on a word's spelling alone."""
_NO_CLASSES = Vocabulary("none", ("thing",), (("thing",),), ((0, 0, 0),))


@dataclass(frozen=True)
class Lexicon:
    """Words and their vectors."""

    words: tuple[str, ...]  # [V] by descending frequency
    vectors: Tensor  # [2 + V, E] float32: padding, unknown, the words


def build_lexicon(config: LexiconConfig, counts: Mapping[str, int]) -> Lexicon:
    """The words that have vectors, of the training sentences' words with their counts; DataError if the GloVe file
    is missing or has none of them, TeacherError without the teacher's weights."""
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [word for word, count in by_count if count >= config.min_count]
    if not words:
        raise DataError(f"no word occurs {config.min_count} times; write --lexicon.min_count 1")
    if config.glove is not None:
        return _from_glove(config.glove, words)
    return _from_tower(config.teacher, words)


def _from_glove(path: Path, words: Sequence[str]) -> Lexicon:
    vectors = read_glove(path, [*words, "unk"])
    known = tuple(word for word in words if word in vectors)
    say(f"word vectors: {len(known)} of {len(words)} words are in {path.name}, the others are unknown")
    if not known:
        raise DataError(f"{path} has none of the words of the training")
    zeros = np.zeros_like(vectors[known[0]])
    rows = [zeros, vectors.get("unk", zeros), *(vectors[word] for word in known)]
    return Lexicon(known, torch.from_numpy(np.stack(rows)))


def _from_tower(config: TeacherConfig, words: Sequence[str]) -> Lexicon:
    """Each word's text embedding minus the mean of all, concatenated with numbers from its spelling alone.

    The second part separates words that the tower does not: the tiny teacher knows few words for rooms and embeds
    them almost identically. A word that it does not know has zeros in the first part.
    """
    loaded = load_clip(config.model, config.weights, _NO_CLASSES)
    set_activation(loaded.clip, loaded.activation)
    known = [word for word in words if _knows(loaded, word)]
    say(f"word vectors: the teacher's text tower knows {len(known)} of {len(words)} words")
    embedded = torch.zeros(len(words), loaded.clip.text_projection.shape[1])
    if known:
        with torch.no_grad():
            embeddings = F.normalize(encode_text(loaded.clip.eval(), loaded.tokenizer(known)).float(), dim=1)
        rows = torch.tensor([words.index(word) for word in known])
        embedded[rows] = F.normalize(embeddings - embeddings.mean(0), dim=1) * embeddings.shape[1] ** 0.5
    # Random numbers of standard deviation 1, always the same for a word.
    rngs = [np.random.default_rng(zlib.crc32(word.encode())) for word in words]
    spelled = np.stack([rng.normal(size=SPELLING).astype(np.float32) for rng in rngs])
    vectors = torch.cat([embedded, torch.from_numpy(spelled)], 1)
    return Lexicon(tuple(words), torch.cat([vectors.new_zeros(SPECIAL, vectors.shape[1]), vectors]))


def _knows(loaded: LoadedClip, word: str) -> bool:
    try:
        loaded.tokenizer([word])
    except TeacherError:
        return False
    return True
