"""What is said of a student without labels equals counting in a loop, and is refused for a teacher alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scenelift.errors import DataError
from scenelift.evaluation.metrics import kappa
from scenelift.inference.labeler import Labeler
from scenelift.samples.config import ReadOptions
from scenelift.teachers.config import TeacherConfig
from tests.made.frames import VOCABULARY, made_up_frame
from tests.made.validation import shards, student
from trainables.common.agreement import sweep_alone
from trainables.common.scoring import Predictors
from trainables.common.unlabeled import Unlabeled, _Comparer, evaluate

SIZE = (14, 24)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Predictors:
    folder = tmp_path_factory.mktemp("student")
    student().save(folder)
    return Predictors(
        VOCABULARY,
        {"student": str(folder), "against": str(folder)},
        TeacherConfig(weights="random", image_size=SIZE),
    )


def test_agreement_and_confidence_are_those_of_the_points(make: Predictors) -> None:
    frame = replace(
        made_up_frame("frame-00002", ReadOptions(image_size=SIZE, lidar_sweeps=1), 400), labels=None
    )
    part = _Comparer(make)(torch.device("cpu"))([frame])
    found = Unlabeled(VOCABULARY)
    found.add(4, part)
    predictors = make(torch.device("cpu"))
    said, taught = predictors["student"].predict(frame), predictors["teacher"].predict(frame)
    seen = taught > 0
    assert found.agreements["teacher"].sum() == seen.sum() > 0
    assert np.trace(found.agreements["teacher"]) == (said == taught)[seen].sum()
    assert found.trouble == {4: pytest.approx(float((said != taught)[seen].mean()))}
    assert np.trace(found.agreements["students"]) == len(said) == found.points
    assert 0 < found.agreements["sweeps"].sum() <= len(sweep_alone(frame, 1).points)
    confidence = Labeler(student()).label_frame(frame).confidence
    assert found.metrics() == {
        **{f"unlabeled/agreement_{name}": kappa(counts) for name, counts in found.agreements.items()},
        "unlabeled/confidence": pytest.approx(float(confidence.mean())),
    }
    assert "no labels to score on" in found.table() and "with the teacher" in found.table()


def test_without_anything_to_compare_with_the_least_confident_frame_is_the_worst() -> None:
    found = Unlabeled(VOCABULARY)
    for index, confidence in enumerate((0.9, 0.5)):
        found.add(index, Unlabeled(VOCABULARY, confident=10 * confidence, points=10))
    assert found.trouble == {0: pytest.approx(0.1), 1: pytest.approx(0.5)}


def test_a_teacher_alone_is_refused() -> None:
    make = Predictors(VOCABULARY, {}, TeacherConfig(weights="random", image_size=SIZE))
    with pytest.raises(DataError, match=r"has no labels, so a teacher alone .* give --student too"):
        evaluate(shards(2, 1, 0, False), make, "comparing")
