"""Protects the words that a tree brings itself: they reach the prompts, and mistakes in them are named."""

import json
from pathlib import Path

import pytest

from scenelift.errors import DataError
from scenelift.samples.vocabulary import with_words
from tests.made.frames import VOCABULARY


def test_words_of_a_file_replace_those_of_the_classes_it_names(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    assert with_words(VOCABULARY, path) == VOCABULARY
    path.write_text(json.dumps({"road": ["street", "lane"], "car": ["van"]}))
    changed = with_words(VOCABULARY, path)
    assert changed.words == (("van",), ("tree", "bush"), ("street", "lane"))
    assert changed.prompts("plain")[2] == ("street", "lane")
    assert (changed.classes, changed.colors, changed.name) == (
        VOCABULARY.classes,
        VOCABULARY.colors,
        VOCABULARY.name,
    )
    assert changed.version != VOCABULARY.version


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"cra": ["car"]}', "prompts.json has an unknown class cra; known: car, tree, road"),
        ('{"car": "car"}', r"must be \{class: \[words\]\} as JSON"),
        ('{"car": []}', "must be"),
        ('{"car": ["van", " "]}', "must be"),
        ('{"car": ["van", 3]}', "must be"),
        ('["car"]', "must be"),
        ("{", "must be"),
    ],
)
def test_mistakes_in_it_are_answered_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        with_words(VOCABULARY, path)
    assert "\n" not in str(caught.value)
