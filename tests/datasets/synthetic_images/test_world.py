"""Synthetic images: what they promise the method, read back by the reader of Flickr30K Entities."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.captions.config import CaptionOptions
from datasets.synthetic_images.config import CLASSES, KINDS, ImageWorldConfig
from datasets.synthetic_images.generate import generate
from datasets.synthetic_images.shards import source_of
from scenelift.errors import ConfigError
from scenelift.geometry.boxes2d import iou


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    config = ImageWorldConfig(out=tmp_path_factory.mktemp("images") / "world", train=40, test=3)
    assert generate(config)
    return config


@pytest.fixture(scope="module")
def images(world):
    source = source_of(world.out)
    return [source.read(keyframe, CaptionOptions(photos=True)) for keyframe in source.list_samples("train")]


def boxed(image):
    return [phrase for phrase in image.phrases if phrase.box is not None]


def test_the_tree_is_whole_and_made_once(world):
    assert not generate(world), "it is there"
    assert [len(source_of(world.out).list_samples(split)) for split in ("train", "test")] == [40, 3]
    with pytest.raises(ConfigError, match="holds other synthetic images"):
        generate(replace(world, seed=1))
    (world.out.parent / "strange").mkdir()
    (world.out.parent / "strange" / "file").write_text("")
    with pytest.raises(ConfigError, match="holds something else than synthetic images"):
        generate(replace(world, out=world.out.parent / "strange"))


def test_images_depend_on_seed_and_number_alone(world, images, tmp_path):
    generate(replace(world, out=tmp_path / "again", train=2, test=0))
    again = source_of(tmp_path / "again")
    for one, keyframe in zip(images, again.list_samples("train"), strict=False):
        other = again.read(keyframe, CaptionOptions(photos=True))
        assert one.sentences == other.sentences and one.photo == other.photo
        np.testing.assert_array_equal(one.features, other.features)


def test_every_image_has_five_sentences_with_phrases_of_all_sorts(images):
    assert all(len(image.sentences) == 5 for image in images)
    types = {name for image in images for phrase in image.phrases for name in phrase.types}
    assert types == {"people", "animals", "vehicles", "other", "scene", "notvisual"}
    assert all(
        phrase.box is None
        for i in images
        for phrase in i.phrases
        if phrase.types[0] in ("scene", "notvisual")
    )
    first = [next(p.box for p in image.phrases if p.sentence == 0) for image in images]
    assert any(box is None for box in first), "a phrase without box before one with a box"


def test_things_have_proposals_of_the_whole_and_of_parts_that_are_no_hits(images):
    for image in images:
        boxes = {phrase.box for phrase in boxed(image)}
        overlap = iou(list(boxes), image.boxes)
        assert (overlap.max(1) > 0.5).all(), "each thing can be found"
        assert ((overlap > 0.25) & (overlap < 0.5)).any(1).mean() > 0.5, "and has parts beside"


def test_the_detector_knows_extent_but_neither_colors_nor_all_kinds(images):
    known = {word for kind in KINDS if kind.known for word in kind.words}
    for image in images:
        for phrase in boxed(image):
            assert bool(phrase.classes) == (phrase.text.split()[-1] in known)
    assert not any(name in " ".join(CLASSES) for name in ("red", "blue"))
    whole, part = [], []
    for image in images:
        for phrase in boxed(image):
            if phrase.classes:
                overlap = iou([phrase.box], image.boxes)[0]
                belief = image.posteriors[:, phrase.classes[0][0]].astype(np.float32)
                whole += belief[overlap > 0.75].tolist()
                part += belief[(overlap > 0.3) & (overlap < 0.5)].tolist()
    assert np.mean(whole) > 0.8 and np.mean(part) < 0.5


def test_a_thing_is_named_with_its_color_where_it_has_a_twin(images):
    words = {word: kind.name for kind in KINDS for word in kind.words}
    for image in images:
        kinds = {}
        for phrase in boxed(image):
            kinds.setdefault(words[phrase.text.split()[-1]], set()).add(phrase.box)
        for phrase in boxed(image):
            if len(kinds[words[phrase.text.split()[-1]]]) > 1:
                assert len(phrase.text.split()) == 3, phrase.text
