"""Which of a detector's classes a noun phrase names: exact words, a table of synonyms, and WordNet if asked for.

CKD's authors read such a map from a file that they did not release (ckd.md 2.6); this is the reconstruction of
ckd.md 5.1.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from scenelift.errors import DataError

Classes = tuple[tuple[int, float], ...]
"""Detector classes 1..C with weights that sum to 1, the best first; empty: none."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "guy": ("man", "person"),
    "gentleman": ("man", "person"),
    "fellow": ("man", "person"),
    "male": ("man", "person"),
    "lady": ("woman", "person"),
    "female": ("woman", "person"),
    "kid": ("child", "boy", "girl", "person"),
    "toddler": ("child", "baby", "person"),
    "child": ("boy", "girl", "person"),
    "boy": ("child", "person"),
    "girl": ("child", "person"),
    "man": ("person",),
    "woman": ("person",),
    "person": ("man", "woman"),
    "people": ("person", "man", "woman"),
    "crowd": ("person",),
    "player": ("person", "man"),
    "worker": ("person", "man"),
    "puppy": ("dog",),
    "kitten": ("cat",),
    "bike": ("bicycle",),
    "motorcycle": ("motorbike",),
    "motorbike": ("motorcycle",),
    "automobile": ("car",),
    "vehicle": ("car", "truck"),
    "ship": ("boat",),
    "plane": ("airplane", "aeroplane"),
    "airplane": ("aeroplane",),
    "couch": ("sofa",),
    "sofa": ("couch",),
    "television": ("tv", "tvmonitor", "monitor"),
    "tee": ("shirt",),
    "tshirt": ("shirt",),
    "t-shirt": ("shirt",),
    "trousers": ("pants", "jeans"),
    "cap": ("hat",),
}
"""Head noun -> names that mean the same or hold it, the nearest first."""

_LEADING = frozenset(
    (
        *(
            "a",
            "an",
            "the",
            "this",
            "that",
            "these",
            "those",
            "his",
            "her",
            "its",
            "their",
            "my",
            "our",
            "your",
        ),
        *(
            "some",
            "several",
            "many",
            "few",
            "another",
            "other",
            "each",
            "every",
            "both",
            "all",
            "no",
            "one",
            "two",
        ),
        *("three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    )
)
_PREPOSITIONS = frozenset(
    (
        *(
            "of",
            "in",
            "on",
            "at",
            "with",
            "by",
            "for",
            "from",
            "to",
            "near",
            "behind",
            "beside",
            "under",
            "over",
        ),
        *("above", "below", "into", "onto", "along", "across", "around", "through", "against", "between"),
        *("that", "who", "which", "whose", "wearing", "holding"),
    )
)
_IRREGULAR = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "person",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "knives": "knife",
    "wolves": "wolf",
    "leaves": "leaf",
    "shelves": "shelf",
}
_SENSES = 3
"""How many of a noun's senses in WordNet are tried, the commonest first."""


def head_words(phrase: str) -> list[str]:
    """The words of a phrase up to its first preposition, without what only points or counts; the last is its head.

    "the two young guys in green" -> young, guys.
    """
    kept: list[str] = []
    for place, word in enumerate(re.findall(r"[\w'-]+", phrase.lower())):
        if word in _PREPOSITIONS and place:
            break
        if word not in _LEADING and not word.isdigit():
            kept.append(word)
    return kept


def singulars(word: str) -> list[str]:
    """The word as it is, and what it may be the plural of."""
    found = [word]
    if word in _IRREGULAR:
        found.append(_IRREGULAR[word])
    if word.endswith("ies"):
        found.append(f"{word[:-3]}y")
    if word.endswith("es"):
        found.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        found.append(word[:-1])
    return found


class PhraseClasses:
    """From phrases to the classes of one detector. Small to pickle.

    In this order: the whole phrase, its last two words, its head noun, each as it is and in the singular, is a
    class name; a synonym of the head noun is; with `wordnet`, a class means the head noun or something that it is
    a kind of.
    """

    def __init__(self, classes: Sequence[str], wordnet: bool = False, mixture: bool = False) -> None:
        """classes: [C] names; commas separate several names of one. mixture: a synonym or a WordNet sense that
        several classes fit gives all of them, with equal weights; else the first.

        Of classes that share a name the first has it. Raises DataError if WordNet is asked for and not there.
        """
        self.classes, self.mixture = tuple(classes), mixture
        self.numbers: dict[str, int] = {}
        for number, names in enumerate(classes, start=1):
            for name in names.lower().split(","):
                self.numbers.setdefault(name.strip().replace("_", " "), number)
        self.wordnet = wordnet
        if wordnet:
            _wordnet()

    def __call__(self, phrase: str) -> Classes:
        """The classes that the phrase names."""
        for found in self._found(head_words(phrase)):
            if found:
                chosen = list(dict.fromkeys(found))[: None if self.mixture else 1]
                return tuple((number, 1 / len(chosen)) for number in chosen)
        return ()

    def _found(self, words: list[str]) -> Iterator[list[int]]:
        """What each rule finds, the strictest first."""
        if not words:
            return
        for several in (words, words[-2:], words[-1:]):
            *before, last = several
            yield self._known([" ".join([*before, form]) for form in singulars(last)])[:1]
        for form in singulars(words[-1]):
            yield self._known(SYNONYMS.get(form, ()))
        if self.wordnet:
            yield from self._senses(words[-1])

    def _known(self, names: Sequence[str]) -> list[int]:
        return [self.numbers[name] for name in names if name in self.numbers]

    def _senses(self, noun: str) -> Iterator[list[int]]:
        """Sense by sense: classes that mean the noun, or the nearest thing that it is a kind of."""
        corpus = _wordnet()
        for sense in corpus.synsets(noun, pos="n")[:_SENSES]:
            level = [sense]
            while level:
                here = [self._meanings[one.name()] for one in level if one.name() in self._meanings]
                if here:
                    yield here
                    break
                level = [upper for one in level for upper in one.hypernyms()]

    @functools.cached_property
    def _meanings(self) -> dict[str, int]:
        """WordNet's name of the commonest sense of each class name -> class."""
        meanings: dict[str, int] = {}
        for name, number in self.numbers.items():
            for sense in _wordnet().synsets(name.replace(" ", "_"), pos="n")[:1]:
                meanings.setdefault(sense.name(), number)
        return meanings


def _load_wordnet() -> Any:
    try:
        from nltk.corpus import wordnet

        wordnet.synsets("dog")
    except ImportError:
        raise DataError("WordNet needs the package nltk; install it, or leave --wordnet out") from None
    except LookupError:
        raise DataError(
            "nltk has no WordNet here; fetch it with: python -m nltk.downloader wordnet, or leave --wordnet out"
        ) from None
    return wordnet


_wordnet: Callable[[], Any] = functools.cache(_load_wordnet)


@functools.cache
def phrase_classes(classes: tuple[str, ...], wordnet: bool, mixture: bool) -> PhraseClasses:
    """The map of these settings, made once a process."""
    return PhraseClasses(classes, wordnet, mixture)
