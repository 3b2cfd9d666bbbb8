"""Keywords of a sentence: its attributes, and the things that it relates its object to.

The authors parse sentences with the Stanford parser (ws3dvg.md 3.6): adjectives (JJ) of the first sentence, nouns
(NN) inside prepositional phrases (PP) of all sentences. The rules here need no parser and no model, only lists of
closed word classes:

- a sentence ends at . ! ? ; the first sentence is everything up to there;
- an adjective is a word of `ADJECTIVES`, or one with an adjective's ending (-ish, -ular, -est);
- a prepositional phrase begins at a word of `PREPOSITIONS` and ends at punctuation, a conjunction other than "and",
  a pronoun, a verb, or a determiner after one of its nouns; every other word in it is a noun, unless it is an
  adverb, a number or an adjective.

A word that is both stays a plain keyword, where the authors' code treats it as padding (ws3dvg.md 13.1, 4); and the
rules work on the data set's own tokens, so that masks are always aligned with them (ws3dvg.md 13.1, 5).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]")  # letters of any script
_ENDS = frozenset(".!?")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ADJECTIVES = _words(
    """red blue green yellow white black brown grey gray orange purple pink beige tan silver gold golden dark light
    bright colorful colorful blond blonde maroon teal turquoise navy cream crimson violet
    big large small little tall short long wide narrow thick thin tiny huge high low deep shallow larger smaller
    bigger taller shorter longer wider narrower thicker thinner higher lower darker lighter closer nearer
    round square rectangular circular oval curved straight flat rounded triangular octagonal cylindrical
    wooden wood metal metallic plastic leather glass stainless ceramic fabric wicker padded cushioned
    open closed empty full double single new old clean dirty soft hard plain striped patterned checkered
    same similar different other correct visible adjacent rear upper bottom middle main only"""
)
_ADJECTIVE_ENDS = ("ish", "ular", "est", "colored", "coloured", "shaped", "legged")

PREPOSITIONS = _words(
    """in on at by near under underneath beneath below above over behind beside besides between among across
    against along around inside outside opposite toward towards through throughout within without with from of to
    into onto off atop past beyond after before next facing"""
)
_DETERMINERS = _words("the a an this that these those its his her their your my our")
_NO_NOUNS = _DETERMINERS | _words(
    """each every some any all both another no one two three four five six seven eight nine ten first second third
    last most more less very far away close directly just slightly also there here when where while immediately
    almost nearly about too so not as single and"""
)
_PRONOUNS = _words("it you they we i he she him them us me itself who which what")
_CONJUNCTIONS = _words("or but if because then than though although")
_VERBS = _words(
    """is are was were be been being has have had having do does did can could will would should may might must
    stand stands standing sit sits sitting located place placed find select choose pick look looks looking face
    faces see seen hang hangs hanging lie lies lying lean leans leaning go goes going come comes enter entering
    attached set used using touching holding surrounded pushed tucked positioned mounted"""
)


def tokenize(text: str) -> list[str]:
    """Lower-case words, numbers and punctuation marks, each a token, as ScanRefer's `token` has them."""
    return _TOKEN.findall(unicodedata.normalize("NFC", text.lower()))


def first_sentence(tokens: Sequence[str]) -> int:
    """Number of tokens of the first sentence, including its full stop."""
    ends = [i for i, token in enumerate(tokens) if token in _ENDS]
    return ends[0] + 1 if ends else len(tokens)


def is_adjective(word: str) -> bool:
    """Whether a word is an adjective by the rule."""
    return word in ADJECTIVES or (len(word) > 5 and word.endswith(_ADJECTIVE_ENDS))


def attributes(tokens: Sequence[str]) -> Mask:
    """[T] the adjectives of the first sentence."""
    end = first_sentence(tokens)
    return np.array([i < end and is_adjective(token) for i, token in enumerate(tokens)], bool)


def anchors(tokens: Sequence[str]) -> Mask:
    """[T] the nouns within prepositional phrases."""
    nouns, inside = np.zeros(len(tokens), bool), False
    closing = _PRONOUNS | _CONJUNCTIONS | _VERBS
    for i, token in enumerate(tokens):
        if token in PREPOSITIONS:
            inside = True
        elif not token[0].isalpha() or token in closing or (token in _DETERMINERS and i and nouns[i - 1]):
            inside = False
        else:
            nouns[i] = inside and token not in _NO_NOUNS and not is_adjective(token)
    return nouns


def keyword_mask(tokens: Sequence[str], adjectives: bool = True) -> Mask:
    """[T] True for keywords: `anchors`, and with `adjectives` the `attributes` too.

    The authors marked adjectives in ScanRefer only; in Nr3D and Sr3D they used nouns alone.
    """
    return anchors(tokens) | attributes(tokens) if adjectives else anchors(tokens)
