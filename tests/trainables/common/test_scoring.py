"""Scoring of frames on Ray Data equals scoring in a loop, for every group of points."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from scenelift.errors import ConfigError
from scenelift.evaluation.metrics import confusion
from scenelift.samples.config import ReadOptions
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from tests.made.frames import VOCABULARY, MadeUp
from trainables.common.drawing import draw, frequent, worst
from trainables.common.scoring import GROUPS, Evaluation, evaluate, metrics, table
from trainables.evaluate.config import EvaluateConfig


@dataclass(frozen=True)
class ByHeight:
    """Says 1 of high points, and `low` of the others."""

    low: int

    def predict(self, frame):
        return np.where(frame.points[frame.keyframe, 2] > 0, 1, self.low).astype(np.uint8)


def make(device: torch.device) -> dict[str, ByHeight]:
    return {"student": ByHeight(2), "b": ByHeight(0)}


@pytest.mark.ray
def test_scores_equal_a_loop_over_frames(ray_session, tmp_path):
    write_shards(
        MadeUp(9), None, str(tmp_path), ReadOptions(lidar_sweeps=1, image_size=(8, 12)), 4, progress=False
    )
    shards = Shards.open(str(tmp_path))
    evaluation = evaluate(shards, make, "scoring", workers=2)
    want = {(name, group): np.zeros((3, 3), np.int64) for name in ("student", "b") for group in GROUPS}
    for index in range(9):
        frame = shards.read(index)
        key, seen = frame.keyframe, frame.seen[frame.keyframe]
        for name, predictor in make(torch.device("cpu")).items():
            for group, part in (("all", seen | True), ("seen", seen), ("unseen", ~seen)):
                want[name, group] += confusion(frame.labels[key][part], predictor.predict(frame)[part], 3)
    for (name, group), matrix in want.items():
        assert np.array_equal(evaluation.matrices[name][group], matrix), (name, group)
    wrong = {i: _wrong(shards.read(i), make(torch.device("cpu"))["student"]) for i in range(9)}
    assert evaluation.trouble == pytest.approx(wrong)
    assert worst(evaluation.trouble) == sorted(wrong, key=lambda i: (-wrong[i], i))[:3]


def _wrong(frame, predictor):
    truth = frame.labels[frame.keyframe]
    return float((predictor.predict(frame) != truth)[truth > 0].mean())


@dataclass(frozen=True)
class Says:
    """Says what it was given."""

    labels: np.ndarray

    def predict(self, frame):
        return self.labels


def test_the_pictures_of_two_students_show_classes_and_both_errors(tmp_path):
    frame = MadeUp(1).read(MadeUp(1).list_samples(None)[0], ReadOptions(image_size=(8, 12)))
    truth = frame.labels[frame.keyframe]
    students = {"student": Says(truth), "against": Says(np.ones_like(truth))}
    draw(tmp_path, VOCABULARY, {5: frame}, students)
    assert {path.name for path in tmp_path.iterdir()} == {
        "birds_eye_00005.png",
        "classes_00005.png",
        "errors_00005.png",
    }
    evaluation = Evaluation(VOCABULARY)
    for name, says in students.items():
        evaluation.matrices[name] = {group: confusion(truth, says.labels, 3) for group in GROUPS}
    scored = metrics(evaluation)
    assert scored["label_free/miou"] == 1 > scored["against/miou"] and "against" in table(evaluation)
    assert frequent(np.repeat(np.array([0, 5, 2, 4, 3], np.uint8), [9, 1, 3, 3, 2])) == [2, 4, 3]
    assert frequent(np.zeros(3, np.uint8)) == []


def test_frames_without_labels_are_drawn_without_truth(tmp_path):
    frame = replace(
        MadeUp(1).read(MadeUp(1).list_samples(None)[0], ReadOptions(image_size=(8, 12))), labels=None
    )
    draw(tmp_path, VOCABULARY, {2: frame}, {"student": Says(np.ones(frame.keyframe.sum(), np.uint8))})
    assert {path.name for path in tmp_path.iterdir()} == {"birds_eye_00002.png"}


def test_the_frames_with_most_trouble_come_first():
    assert worst({0: 0.2, 1: 0.9, 2: 0.2, 3: 0.5}) == [1, 3, 0] and worst({}) == []


def test_a_second_student_needs_a_first():
    with pytest.raises(ConfigError, match=r"--against is a second student: .*--student runs/NAME/student"):
        EvaluateConfig(against="runs/other/student")
