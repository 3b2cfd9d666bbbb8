"""Flickr30K Entities: the grammar, the boxes, the splits; the real files; and what is broken in a tree."""

import numpy as np
import pytest

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import BottomUpFolder
from datasets.flickr30k.annotations import read_annotation
from datasets.flickr30k.sentences import Chunk, read_sentence
from datasets.flickr30k.source import Flickr30k, Photo
from scenelift.errors import DataError, FrameError
from tests.made.phrase_tree import write_flickr30k

LINE = (
    "[/EN#1/people Two young guys] with [/EN#0/notvisual nothing] near [/EN#6729/vehicles/scene the subway] , "
    "[/EN#0/notvisual nothing] ."
)
ANNOTATION = b"""<annotation><filename>1.jpg</filename><size><width>333</width><height>500</height></size>
<object><name>1</name><bndbox><xmin>159</xmin><ymin>125</ymin><xmax>219</xmax><ymax>335</ymax></bndbox></object>
<object><name>1</name><name>6</name>
  <bndbox><xmin>197</xmin><ymin>110</ymin><xmax>261</xmax><ymax>373</ymax></bndbox></object>
<object><name>8</name><scene>1</scene><nobndbox>1</nobndbox></object>
<object><name>10</name><scene>0</scene><nobndbox>1</nobndbox></object></annotation>"""


def test_chunks_have_chains_several_types_and_words():
    plain, chunks = read_sentence("1.txt", LINE)
    assert plain == "Two young guys with nothing near the subway , nothing ."
    assert chunks == [
        Chunk("Two young guys", "1", ("people",)),
        Chunk("nothing", "0", ("notvisual",)),
        Chunk("the subway", "6729", ("vehicles", "scene")),
        Chunk("nothing", "0", ("notvisual",)),
    ]


@pytest.mark.parametrize(
    "line", ["[/EN#1 a man] .", "[/EN#1/people a man", "[/EN#x/people a man]", "[/EN#1/people ]"]
)
def test_brackets_that_are_no_chunk_are_refused(line):
    with pytest.raises(FrameError, match=r"1\.txt has a phrase"):
        read_sentence("1.txt", line)


def test_boxes_start_at_zero_and_a_chain_has_the_union_of_its_own():
    annotation = read_annotation("1.xml", ANNOTATION)
    assert annotation.size == (500, 333)
    assert annotation.boxes["1"].tolist() == [[158, 124, 218, 334], [196, 109, 260, 372]]
    assert annotation.union("1") == (158, 109, 260, 372)
    assert annotation.union("6") == (196, 109, 260, 372), "one object of two chains"
    assert annotation.union("8") is None and annotation.union("2") is None
    assert annotation.scenes == {"8"} and annotation.unboxed == {"8", "10"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<annotation>", "no element found"),
        (ANNOTATION.replace(b"<width>333</width>", b""), "size/width is missing"),
        (ANNOTATION.replace(b"<xmin>159</xmin>", b""), "xmin is missing"),
        (ANNOTATION.replace(b">159<", b">left<"), "invalid literal"),
    ],
)
def test_broken_annotations_are_named(data, reason):
    with pytest.raises(FrameError, match=rf"1\.xml is not an annotation.*{reason}"):
        read_annotation("1.xml", data)


def names(*known):
    """A list of Visual Genome's length in which a few names are known."""
    return (*known, *(f"thing {i}" for i in range(1600 - len(known))))


def test_the_real_image(real_data):
    root = real_data / "flickr30k"
    source = Flickr30k(root, BottomUpFolder(root / "regions", names("man", "shirt,tee shirt", "yard")))
    (keyframe,) = source.list_samples()
    sample = source.read(keyframe, CaptionOptions(regions=30))
    assert sample.token == "1000092795" and sample.size == (500, 333) and len(sample.sentences) == 5
    assert sample.sentences[2] == "Two men in green shirts are standing in a yard ."
    assert sample.features.shape == (30, 2048) and sample.posteriors.shape == (30, 1601)
    np.testing.assert_allclose(sample.posteriors.astype(np.float32).sum(1), 1, atol=0.02)
    said = {phrase.text: phrase for phrase in sample.phrases}
    assert len(sample.phrases) == 14
    assert said["Two young guys"].box == said["Two friends"].box == (158, 109, 260, 372)
    assert said["many bushes"].box == (0, 214, 331, 472), "two boxes"
    assert said["time"].box is None and said["the yard"].box is None
    assert said["Two young guys"].classes == ((1, 1.0),) and said["green shirts"].classes == ((2, 1.0),)
    assert said["shaggy hair"].classes == () and said["a yard"].types == ("scene",)
    best = sample.posteriors[:, 1:].max(1)
    assert (np.diff(best) <= 0).all(), "the surest regions first"
    inside = (sample.boxes >= 0) & (sample.boxes <= [333, 500, 333, 500])
    assert inside.all()


def test_splits_are_those_of_the_lists(tmp_path):
    source = write_flickr30k(tmp_path, {"train": ["12", "7"], "test": ["9"]})
    assert source.list_samples("train") == [Photo("12"), Photo("7")]
    assert source.list_samples() == [Photo("12"), Photo("7"), Photo("9")]
    with pytest.raises(DataError, match="unknown split dev; known: train, test"):
        source.list_samples("dev")


def test_boxes_beyond_the_image_are_cut_off(tmp_path):
    source = write_flickr30k(tmp_path, {"train": ["1"]}, box=(90, 50, 400, 400))
    sample = source.read(Photo("1"), CaptionOptions())
    assert [phrase.box for phrase in sample.phrases] == [(89, 49, 100, 80), None]
    source = write_flickr30k(tmp_path / "other", {"train": ["1"]}, box=(300, 300, 400, 400))
    assert source.read(Photo("1"), CaptionOptions()).phrases[0].box is None, "nothing of it is inside"


def test_what_is_broken_is_named(tmp_path):
    source = write_flickr30k(tmp_path, {"train": ["1"]})
    with pytest.raises(FrameError, match=r"1\.jpg is missing"):
        source.read(Photo("1"), CaptionOptions(photos=True))
    (tmp_path / "Sentences" / "1.txt").write_text("\n")
    with pytest.raises(FrameError, match="no sentence"):
        source.read(Photo("1"), CaptionOptions())
    (tmp_path / "regions" / "1.jpg.npz").unlink()
    with pytest.raises(FrameError, match=r"1\.jpg\.npz is missing"):
        source.read(Photo("1"), CaptionOptions())
    with pytest.raises(DataError, match="has no Sentences"):
        Flickr30k(tmp_path / "regions", source.regions)
