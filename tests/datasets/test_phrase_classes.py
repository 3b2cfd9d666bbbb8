"""Phrases and the detector's classes: exact words, plurals, synonyms, WordNet, and several classes at once."""

import pytest

from datasets import phrase_classes
from datasets.phrase_classes import PhraseClasses, head_words
from scenelift.errors import DataError

CLASSES = ("person", "man", "traffic light", "dog,hound", "berry", "bus", "man", "motorbike")


@pytest.mark.parametrize(
    ("phrase", "words"),
    [
        ("Two young , White males", ["young", "white", "males"]),
        ("the man in a red shirt", ["man"]),
        ("a dog's bowl", ["dog's", "bowl"]),
        ("3 of them", []),
        ("the", []),
    ],
)
def test_heads_stand_before_prepositions(phrase, words):
    assert head_words(phrase) == words


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("man", "man"),
        ("three MEN", "man"),
        ("a red traffic light", "traffic light"),
        ("traffic lights", "traffic light"),
        ("the old hound", "dog,hound"),
        ("berries", "berry"),
        ("several buses", "bus"),
        ("a guy", "man"),
        ("women", "person"),
        ("a crowd of dogs", "person"),
        ("two puppies", "dog,hound"),
        ("his motorcycle", "motorbike"),
        ("a dog house", None),
        ("glass", None),
        ("", None),
        ("the", None),
    ],
)
def test_what_a_phrase_names(phrase, name):
    found = PhraseClasses(CLASSES)(phrase)
    assert found == (() if name is None else ((1 + CLASSES.index(name), 1.0),))


def test_a_mixture_has_all_that_a_synonym_fits():
    assert PhraseClasses(CLASSES, mixture=True)("the workers") == ((1, 0.5), (2, 0.5))
    assert PhraseClasses(CLASSES, mixture=True)("the man") == ((2, 1.0),), "its own name is enough"


class Sense:
    def __init__(self, name, *uppers):
        self.own, self.uppers = name, uppers

    def name(self):
        return self.own

    def hypernyms(self):
        return list(self.uppers)


PERSON, DOG = Sense("person.n.01"), Sense("dog.n.01")
TERRIER = Sense("terrier.n.01", Sense("hunter.n.02", DOG))
CHEF = Sense("chef.n.01", Sense("cook.n.01", PERSON))
PET = Sense("pet.n.01", DOG, PERSON)


SENSES = {
    "person": [PERSON],
    "dog": [DOG],
    "terrier": [TERRIER],
    "chef": [CHEF],
    "pet": [PET],
    "odd": [Sense("odd")],
}


class WordNet:
    def synsets(self, word, pos):
        assert pos == "n"
        return SENSES.get(word, [])


def test_wordnet_goes_up_to_the_nearest_class(monkeypatch):
    monkeypatch.setattr(phrase_classes, "_wordnet", WordNet)
    mapped = PhraseClasses(("person", "dog"), wordnet=True)
    assert mapped("a small terrier") == ((2, 1.0),)
    assert mapped("the chef") == ((1, 1.0),)
    assert mapped("an odd") == () == mapped("nothing known")
    assert mapped("pet") == ((2, 1.0),)
    assert PhraseClasses(("person", "dog"), wordnet=True, mixture=True)("pet") == ((2, 0.5), (1, 0.5))
    assert PhraseClasses(("person", "dog"))("the terrier") == ()


def test_wordnet_that_is_not_there_is_refused_at_once(monkeypatch):
    def missing():
        raise DataError("WordNet needs the package nltk")

    monkeypatch.setattr(phrase_classes, "_wordnet", missing)
    with pytest.raises(DataError, match="nltk"):
        PhraseClasses(CLASSES, wordnet=True)
