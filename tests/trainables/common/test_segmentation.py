"""What is measured of a segmentation student while it trains: mIoU, and agreement, which needs no labels."""

from __future__ import annotations

import numpy as np
import pytest

from scenelift.evaluation.metrics import confusion, kappa, scores
from scenelift.nn.student import Student
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from tests.made.frames import VOCABULARY, made_up_frame
from tests.made.validation import SIZE, shards, student
from trainables.common.agreement import agreement, sweep_alone
from trainables.common.segmentation import AGREEMENT, MIOU, SegmentationMeasure


def test_what_can_be_measured_follows_from_the_data() -> None:
    names = {
        (sweeps, labels): SegmentationMeasure.of(shards(8, 4, sweeps, labels), 1).names
        for sweeps in (0, 1)
        for labels in (False, True)
    }
    assert names[1, True] == (MIOU, AGREEMENT) and names[0, False] == ()
    assert names[0, True] == (MIOU,) and names[1, False] == (AGREEMENT,)


def test_scores_are_those_of_all_points() -> None:
    data, trained = shards(12, 6), student().eval()
    measure = SegmentationMeasure.of(data, 0)
    found = measure.metrics(measure.count(trained, data.frames))
    truth = np.concatenate([f.labels[f.keyframe] for f in data.frames if f.labels is not None])
    said = np.concatenate([trained.predict(f) for f in data.frames])
    assert found[MIOU] == pytest.approx(scores(confusion(truth, said, 3), VOCABULARY).miou)
    both = sum(_agreement_by_loop(f, trained) for f in data.frames)
    assert found[AGREEMENT] == pytest.approx(kappa(both))


def _agreement_by_loop(frame: Frame, trained: Student) -> np.ndarray:
    counts = np.zeros((3, 3), np.int64)
    earlier = sweep_alone(frame, 1)
    there = {
        tuple(np.floor(point / np.float32(SIZE)).astype(int)): label
        for point, label in zip(earlier.points, trained.predict(earlier), strict=True)
    }
    here = {
        tuple(np.floor(point / np.float32(SIZE)).astype(int)): label
        for point, label in zip(frame.points[frame.keyframe], trained.predict(frame), strict=True)
    }
    for cell in here.keys() & there.keys():
        counts[here[cell] - 1, there[cell] - 1] += 1
    return counts


def test_a_sweep_alone_holds_its_points_and_no_labels() -> None:
    frame = made_up_frame("frame-00001", ReadOptions(image_size=(8, 12), lidar_sweeps=2))
    alone = sweep_alone(frame, 2)
    assert np.array_equal(alone.points, frame.points[frame.sweep == 2])
    assert alone.keyframe.all() and alone.labels is None and not len(alone.pair_points)


def test_agreement_counts_voxels_that_both_clouds_fill() -> None:
    points = np.array([[0.1, 0, 0], [0.2, 0, 0], [5, 5, 5], [-1, -1, -1]], np.float32)
    other = np.array([[0.9, 0.9, 0.9], [5.5, 5, 5], [9, 9, 9]], np.float32)
    counts = agreement(
        (points, np.array([1, 1, 2, 3], np.uint8)), (other, np.array([1, 3, 2], np.uint8)), 1.0, 3
    )
    assert counts.sum() == 2 and counts[0, 0] == 1 and counts[1, 2] == 1
