"""PhraseScores of phrase grounding, against a loop, and at their edges."""

from dataclasses import replace

import numpy as np
import pytest

from scenelift.geometry.boxes2d import iou
from scenelift.samples.caption import Phrase
from tests.made.captions import made_up_image
from trainables.phrases.scores import NONE, PhraseScores, believed, chance, fused


def metrics(sample, scores):
    found = PhraseScores()
    found.add(sample, np.asarray(scores, np.float32))
    return found.metrics()


def looped(sample, scores):
    """R@k, pointing and ceiling, phrase by phrase."""
    hits = {1: [], 5: [], 10: [], "pointing": [], "ceiling": []}
    for phrase, row in zip(sample.phrases, scores, strict=True):
        if phrase.box is None:
            continue
        order = sorted(range(len(row)), key=lambda r: -row[r])
        right = [iou([phrase.box], sample.boxes[[r]])[0, 0] > 0.5 for r in order]
        for k in (1, 5, 10):
            hits[k].append(any(right[:k]))
        hits["ceiling"].append(any(right))
        x1, y1, x2, y2 = sample.boxes[order[0]]
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        hits["pointing"].append(phrase.box[0] <= x <= phrase.box[2] and phrase.box[1] <= y <= phrase.box[3])
    return {name: np.mean(values) for name, values in hits.items()}


def test_scores_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    for token in "abcdef":
        sample = made_up_image(token, regions=25)
        scores = rng.random((len(sample.phrases), 25), np.float32)
        found, wanted = metrics(sample, scores), looped(sample, scores)
        for k in (1, 5, 10):
            assert found[f"r{k}"] == pytest.approx(wanted[k])
        assert found["pointing"] == pytest.approx(wanted["pointing"])
        assert found["ceiling"] == pytest.approx(wanted["ceiling"])
        assert found["r1"] <= found["r5"] <= found["r10"] <= found["ceiling"]


def test_an_iou_of_exactly_a_half_is_not_enough():
    sample = made_up_image(regions=2, sentences=(("a man",),))
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5.1]], np.float32)
    sample = replace(sample, boxes=boxes, phrases=(Phrase("a man", 0, ("people",), (), (0, 0, 10, 5)),))
    assert metrics(sample, [[1, 0]])["r1"] == 0
    assert metrics(sample, [[0, 1]])["r1"] == 1


def test_a_phrase_without_box_before_one_with_a_box_shifts_nothing():
    sample = made_up_image(regions=8, sentences=(("the street", "a man"),))
    scores = np.zeros((2, 8))
    scores[0, 0], scores[1, 1] = 1, 1  # phrase 1 is in region 1
    found = metrics(sample, scores)
    assert found["r1"] == 1 and found["phrases"] == 1


def test_types_and_known_phrases_are_told_apart():
    sample = made_up_image(regions=6)
    phrases = (
        Phrase("a man", 0, ("people", "animals"), ((1, 1.0),), tuple(sample.boxes[0].tolist())),
        Phrase("a hat", 0, ("clothing",), (), tuple(sample.boxes[1].tolist())),
        Phrase("a thing", 0, (), (), tuple(sample.boxes[2].tolist())),
    )
    sample = replace(sample, phrases=phrases)
    found = metrics(sample, np.eye(6)[[0, 3, 2]])
    wanted = {"people": 1, "animals": 1, "clothing": 0, NONE: 1}
    assert {name: found[f"r1/{name}"] for name in wanted} == wanted
    assert found["r1/known to the detector"] == 1 and found["r1/unknown to the detector"] == 0.5
    assert found["phrases"] == 3


def test_images_without_boxes_count_for_nothing():
    found = PhraseScores()
    found.add(made_up_image(sentences=(("the street",),)), np.zeros((1, 6), np.float32))
    assert found.metrics() == {"phrases": 0.0}


def test_the_detector_alone_and_added():
    sample = made_up_image(sentences=(("a man", "the street"),))
    belief = believed(sample)
    np.testing.assert_allclose(belief[0], sample.posteriors[:, 1].astype(np.float32))
    assert (belief[1] == 0).all(), "it knows no street"
    ground = chance(0)
    np.testing.assert_allclose(fused(chance(0), 2.0)(sample), ground(sample) + 2 * belief)
