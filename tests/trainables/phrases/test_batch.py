"""Batches of phrase grounding: what of the images is in them, and what can be wrong with images."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scenelift.errors import DataError
from scenelift.geometry.boxes2d import neighbours
from tests.made.captions import made_up_image
from trainables.phrases.batch import PhraseCollate, WordIndex, with_padding

WORDS = WordIndex(("a", "blue", "car", "dog", "man", "red", "the"), 4)


def test_a_batch_holds_what_the_images_hold():
    samples = [made_up_image("a", 6), made_up_image("b", 3)]
    batch = PhraseCollate(WORDS, captions=3)(samples)
    assert batch.tokens == ("a", "b") and batch.image_id.tolist() == [0, 1]
    assert batch.features.shape == (2, 6, 5) and batch.region_mask.sum(1).tolist() == [6, 3]
    np.testing.assert_array_equal(batch.features[1, :3], samples[1].features.astype(np.float32))
    assert (batch.features[1, 3:] == 0).all()
    np.testing.assert_array_equal(batch.neighbours[0], samples[0].neighbours)
    np.testing.assert_array_equal(batch.neighbours[1, :3, :3], samples[1].neighbours)
    assert (batch.neighbours[1, 3:] == -1).all() and (batch.neighbours[1, :, 3:] == -1).all()
    assert batch.sentence_image.tolist() == [0, 0, 0, 1, 1, 1]
    assert len(batch.words) == 12 and batch.phrase_image.tolist() == [0] * 6 + [1] * 6


def test_the_teacher_is_the_belief_in_the_phrases_own_class():
    sample = made_up_image("a", 6)
    batch = PhraseCollate(WORDS, captions=3)([sample, made_up_image("b", 3)])
    texts = {
        tuple(WORDS([text])[0].tolist()): text
        for text in ("a man", "a red dog", "the street", "the dog", "a blue car")
    }
    classes = {"a man": 1, "a red dog": 2, "the dog": 2, "a blue car": 3}
    for n in range(6):
        text = texts[tuple(batch.words[n].tolist())]
        if text not in classes:
            assert (batch.teacher[n] == 0).all(), "the street"
            continue
        np.testing.assert_allclose(batch.teacher[n], sample.posteriors[:, classes[text]], rtol=1e-3)
    assert (batch.teacher[6:, 3:] == 0).all(), "padding"


def test_a_mixture_of_classes_is_believed_by_its_weights():
    sample = made_up_image("a", 6, sentences=(("a man",),))
    phrase = replace(sample.phrases[0], classes=((1, 0.25), (3, 0.75)))
    batch = PhraseCollate(WORDS)([replace(sample, phrases=(phrase,))])
    wanted = 0.25 * sample.posteriors[:, 1] + 0.75 * sample.posteriors[:, 3]
    np.testing.assert_allclose(batch.teacher[0], wanted, rtol=1e-2)


def test_sentences_take_turns_and_follow_from_seed_epoch_and_image():
    sample = made_up_image("a")
    collate = PhraseCollate(WORDS)
    drawn = [collate([sample], epoch).words.tolist() for epoch in range(6)]
    assert len({str(words) for words in drawn[:3]}) == 3 and drawn[:3] == drawn[3:]
    assert collate([sample, made_up_image("b")], 1).words.tolist()[: len(drawn[1])] == drawn[1]
    orders = {
        str([PhraseCollate(WORDS, seed=s)([sample], e).words.tolist() for e in range(3)]) for s in range(9)
    }
    assert len(orders) > 1


def test_long_sentences_give_some_of_their_phrases_in_order():
    texts = tuple(f"{'the ' * (i % 3)}man" for i in range(30))
    sample = made_up_image("a", sentences=(texts,))
    one, two = (PhraseCollate(WORDS, phrases=16)([sample], epoch) for epoch in (0, 1))
    assert len(one.words) == len(two.words) == 16
    assert one.words.tolist() != two.words.tolist()


def test_phrases_of_unknown_words_are_left_out_of_training():
    sample = made_up_image("a", sentences=(("a man", "quux", "zebra crossing"),))
    batch = PhraseCollate(WORDS)([sample])
    assert len(batch.words) == 1
    without = PhraseCollate(WORDS)([made_up_image("a", sentences=(("a man",),))])
    assert torch.equal(batch.words, without.words) and torch.equal(batch.teacher, without.teacher)


def test_images_without_any_usable_phrase_still_are_images():
    silent = made_up_image("a", sentences=(("quux",),))
    batch = PhraseCollate(WORDS)([silent, made_up_image("b")])
    assert len(batch.features) == 2 and 0 not in batch.sentence_image.tolist()
    empty = PhraseCollate(WORDS)([silent])
    assert empty.words.shape == (0, 4) and empty.teacher.shape == (0, 6) and len(empty.sentence_image) == 0


def test_the_same_photo_twice_has_one_id():
    batch = PhraseCollate(WORDS)([made_up_image("a"), made_up_image("b"), made_up_image("a")])
    assert batch.image_id.tolist() == [0, 1, 0]


def test_padding_can_count_as_regions_as_in_the_papers_code():
    samples = [made_up_image("a", 6), made_up_image("b", 3)]
    batch = PhraseCollate(WORDS, mask_padding=False, regions=8, neighbours=4)(samples)
    assert batch.region_mask.all() and batch.features.shape[1] == 8
    assert set(batch.neighbours[1, 5].tolist()) <= {3, 4, 5, 6, 7} and batch.neighbours[1, 5, 0] == 5
    assert (batch.neighbours >= 0).all()
    with pytest.raises(DataError, match="6 regions, more than 4"):
        PhraseCollate(WORDS, regions=4)(samples)


@pytest.mark.parametrize(("regions", "size", "most"), [(6, 15, 4), (3, 15, 8), (1, 4, 8), (9, 10, 9)])
def test_neighbours_of_padding_are_those_of_its_boxes(regions, size, most):
    """Against measuring all boxes, padding being one box outside of the image; nothing is measured in a step."""
    sample = made_up_image("a", regions, count=most)
    boxes = np.concatenate([sample.boxes, np.tile(np.float32([-2, -2, -1, -1]), (size - regions, 1))])
    np.testing.assert_array_equal(with_padding(sample.neighbours, size, most), neighbours(boxes, most))


def test_words_beyond_those_that_are_read_change_nothing():
    long, cut = WORDS(["the red dog the man", "the red dog the"])
    assert long.tolist() == cut.tolist() and len(long) == 4


def test_images_without_posteriors_are_refused_unless_nobody_asks():
    bare = made_up_image("a", posteriors=False)
    with pytest.raises(DataError, match="no detector posteriors"):
        PhraseCollate(WORDS)([bare])
    assert (PhraseCollate(WORDS, distil=False)([bare]).teacher == 0).all()


def test_a_batch_moves_whole():
    batch = PhraseCollate(WORDS)([made_up_image("a")])
    moved = batch.to(torch.device("meta"))
    assert moved.features.is_meta and moved.teacher.is_meta and moved.tokens == ("a",)
