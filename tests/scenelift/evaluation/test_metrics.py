"""Scores against brute force, and the conventions for absent classes."""

import numpy as np
import pytest

from scenelift.evaluation.metrics import confusion, scores
from scenelift.samples.vocabulary import Vocabulary

VOCABULARY = Vocabulary("four", tuple("abcd"), tuple((c,) for c in "abcd"), ((0, 0, 0),) * 4)


def test_confusion_equals_counting():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 1000)).astype(np.uint8)
    matrix = confusion(truth, prediction, 4)
    for row in range(4):
        for column in range(4):
            assert matrix[row, column] == ((truth == row + 1) & (prediction == column + 1)).sum()


def test_iou_equals_sets():
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(1, 5, (2, 500)).astype(np.uint8)
    got = scores(confusion(truth, prediction, 4), VOCABULARY)
    for label, name in enumerate(VOCABULARY.classes, 1):
        true, said = set(np.flatnonzero(truth == label)), set(np.flatnonzero(prediction == label))
        assert got.iou[name] == pytest.approx(len(true & said) / len(true | said))
    assert got.miou == pytest.approx(np.mean(list(got.iou.values())))
    assert got.accuracy == pytest.approx((truth == prediction).mean())


def test_perfect_prediction_scores_one_and_ignored_points_do_not_count():
    truth = np.array([1, 2, 3, 4, 0, 0], np.uint8)
    said = np.array([1, 2, 3, 4, 1, 2], np.uint8)
    got = scores(confusion(truth, said, 4), VOCABULARY)
    assert (got.miou, got.accuracy, got.points, got.absent) == (1.0, 1.0, 4, ())


def test_classes_in_neither_truth_nor_prediction():
    """Left out by default; the paper's code counts them as 1 (clip2scene.md 6.2)."""
    matrix = confusion(np.array([1, 1, 2], np.uint8), np.array([1, 2, 2], np.uint8), 4)
    ours, theirs = scores(matrix, VOCABULARY), scores(matrix, VOCABULARY, "count as one")
    assert ours.absent == ("c", "d")
    assert ours.miou == pytest.approx((0.5 + 0.5) / 2)
    assert theirs.miou == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


def test_a_class_that_is_only_predicted_costs():
    got = scores(confusion(np.array([1, 1], np.uint8), np.array([1, 3], np.uint8), 4), VOCABULARY)
    assert got.iou == {"a": 0.5, "c": 0.0}
    assert got.miou == 0.25


def test_nothing_scored_is_zero_not_nan():
    got = scores(np.zeros((4, 4), np.int64), VOCABULARY)
    assert (got.miou, got.accuracy) == (0.0, 0.0)
