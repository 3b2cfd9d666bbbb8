"""The detector classes that a noun phrase names: by exact words, a table of synonyms, and optionally WordNet.

CKD's authors read such a map from an unreleased file (ckd.md 2.6); this is the reconstruction of ckd.md 5.1.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

from datasets.captions.wordnet import WordNet, open_wordnet

Classes = tuple[tuple[int, float], ...]
"""Detector classes 1..C with weights that sum to 1, the best first; may be empty."""

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
"""Head noun -> class names that mean or include it, the closest first."""

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
"""Number of a noun's WordNet senses to try, the most common first."""


def head_words(phrase: str) -> list[str]:
    """The words of a phrase up to its first preposition, without determiners and numbers; the last is its head.

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
    """The word itself, and its possible singulars."""
    forms = [word]
    if word in _IRREGULAR:
        forms.append(_IRREGULAR[word])
    if word.endswith("ies"):
        forms.append(f"{word[:-3]}y")
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s") and not word.endswith("ss"):
        forms.append(word[:-1])
    return forms


class PhraseClasses:
    """Maps phrases to the classes of one detector.

    The rules, in order: the full phrase, its last two words, or its head noun, each as it is and in the singular,
    is a class name; a synonym of the head noun is; with WordNet, a class means the head noun or one of its
    hypernyms.
    """

    def __init__(self, classes: Sequence[str], wordnet: str | None = None, mixture: bool = False) -> None:
        """classes: [C] names; commas separate several names of one. wordnet: source for `open_wordnet`; None: not
        used. mixture: a phrase gets all classes that a synonym or a WordNet sense fits, not only the first.

        A name shared by several classes stands for the first. Raises DataError if WordNet is requested but missing.
        """
        self.classes, self.mixture = tuple(classes), mixture
        self.numbers: dict[str, int] = {}
        for number, names in enumerate(classes, start=1):
            for listed in names.lower().split(","):
                if name := listed.strip().replace("_", " "):
                    self.numbers.setdefault(name, number)
        self.wordnet: WordNet | None = open_wordnet(wordnet) if wordnet else None

    def __call__(self, phrase: str) -> Classes:
        """The classes that the phrase names."""
        for weights in self._matches(head_words(phrase)):
            if weights:
                chosen = list(weights.items())[: None if self.mixture else 1]
                total = sum(weight for _, weight in chosen)
                return tuple((number, weight / total) for number, weight in chosen)
        return ()

    def _matches(self, words: list[str]) -> Iterator[dict[int, float]]:
        """The classes of each rule, with weights, the best first; the strictest rule first."""
        if not words:
            return
        for several in (words, words[-2:], words[-1:]):
            *before, last = several
            names = self._known([" ".join([*before, form]) for form in singulars(last)])
            yield dict.fromkeys(names[:1], 1.0)
        for form in singulars(words[-1]):
            yield dict.fromkeys(self._known(SYNONYMS.get(form, ())), 1.0)
        if self.wordnet is not None:
            for sense in self.wordnet.senses(words[-1])[:_SENSES]:
                yield self._above(self.wordnet.above(sense))

    def _known(self, names: Sequence[str]) -> list[int]:
        return [self.numbers[name] for name in names if name in self.numbers]

    def _above(self, steps: dict[str, int]) -> dict[int, float]:
        """Classes among a sense's hypernyms, weighted by path similarity 1 / (1 + steps up to them)."""
        weights: dict[int, float] = {}
        for sense, up in steps.items():
            if sense in self._meanings:
                weights.setdefault(self._meanings[sense], 1 / (1 + up))
        return weights

    @functools.cached_property
    def _meanings(self) -> dict[str, int]:
        """The most common WordNet sense of each class name -> class."""
        assert self.wordnet is not None
        meanings: dict[str, int] = {}
        for name, number in self.numbers.items():
            for sense in self.wordnet.senses(name)[:1]:
                meanings.setdefault(sense, number)
        return meanings


@functools.cache
def phrase_classes(classes: tuple[str, ...], wordnet: str | None, mixture: bool) -> PhraseClasses:
    """The map for these settings, built once per process."""
    return PhraseClasses(classes, wordnet, mixture)
