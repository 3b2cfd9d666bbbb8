"""Protects what trainings are chosen by: scenes are held out whole, ranks share them, agreement needs no labels."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.config import ValidationConfig
from scenelift.evaluation.metrics import confusion, kappa, scores
from scenelift.evaluation.validation import AGREEMENT, MIOU, Validation, agreement, hold_out, sweep_alone
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.config import VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from tests.made.frames import VOCABULARY, made_up_frame

_SIZE = 4.0


class FakeShards:
    """What validation asks of shards, from frames in memory."""

    path = "made-up"
    vocabulary = VOCABULARY

    def __init__(self, frames: int, scenes: int, lidar_sweeps: int = 1, labels: bool = True) -> None:
        options = ReadOptions(image_size=(8, 12), lidar_sweeps=lidar_sweeps)
        self.frames = [made_up_frame(f"frame-{i:05d}", options) for i in range(frames)]
        self.scenes = tuple(f"scene-{i * scenes // frames}" for i in range(frames))
        self.about = SimpleNamespace(labeled=labels)

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> Frame:
        return self.frames[index]


def shards(*args: Any, **kwargs: Any) -> Any:
    return FakeShards(*args, **kwargs)


def student() -> Student:
    torch.manual_seed(0)
    config = StudentConfig(VoxelConfig(_SIZE, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,)))
    return Student(config, 1, torch.randn(3, 8), VOCABULARY, {"semantic": 8})


@pytest.mark.parametrize("one_of", [2, 3, 5])
def test_whole_scenes_are_held_out_and_never_trained_on(one_of: int) -> None:
    data = shards(40, 10)
    kept, validation = hold_out(ValidationConfig(one_of), data, None)
    assert kept is not None and validation is not None
    trained, held = {data.scenes[i] for i in kept}, {data.scenes[i] for i in validation.frames}
    assert not trained & held and trained | held == set(data.scenes)
    assert len(held) == 10 // one_of and sorted([*kept, *validation.frames]) == list(range(40))


def test_of_chosen_frames_those_of_held_out_scenes_are_not_trained_on() -> None:
    data = shards(40, 10)
    kept, _ = hold_out(ValidationConfig(5), data, range(0, 40, 3))
    assert kept == [i for i in range(0, 40, 3) if data.scenes[i] not in ("scene-4", "scene-9")]


def test_no_more_frames_are_scored_than_asked_for() -> None:
    _, validation = hold_out(ValidationConfig(2, max_samples=7), shards(40, 10), None)
    assert validation is not None and len(set(validation.frames)) == 7


def test_what_can_be_measured_follows_from_the_data() -> None:
    measured = {
        (sweeps, labels): hold_out(ValidationConfig(2), shards(8, 4, sweeps, labels), None)
        for sweeps, labels in ((1, True), (0, True), (1, False))
    }
    names = {key: validation.names for key, (_, validation) in measured.items() if validation is not None}
    assert names == {(1, True): (MIOU, AGREEMENT), (0, True): (MIOU,), (1, False): (AGREEMENT,)}
    with pytest.raises(DataError, match="--lidar_sweeps 1"):
        hold_out(ValidationConfig(2), shards(8, 4, 0, False), None)


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be taken from the 4 scenes"):
        hold_out(ValidationConfig(5), shards(8, 4), None)
    with pytest.raises(ConfigError, match="cannot be taken"):
        hold_out(ValidationConfig(2), shards(8, 4), [2, 3])
    for wrong in ({"holdout_every": 1}, {"holdout_every": -1}, {"max_samples": 0}, {"every": 0}):
        with pytest.raises(ConfigError, match=r"validation\."):
            ValidationConfig(**wrong)


def test_scores_are_those_of_all_held_out_points_and_the_student_goes_on_training() -> None:
    data, trained = shards(12, 6), student().train()
    _, validation = hold_out(ValidationConfig(2), data, None)
    assert validation is not None
    found = validation(trained, 3, 10)
    assert trained.training
    trained.eval()
    frames = [data.read(i) for i in validation.frames]
    truth = np.concatenate([f.labels[f.keyframe] for f in frames if f.labels is not None])
    said = np.concatenate([trained.predict(f) for f in frames])
    assert found[MIOU] == pytest.approx(scores(confusion(truth, said, 3), VOCABULARY).miou)
    both = sum(_agreement_by_loop(f, trained) for f in frames)
    assert found[AGREEMENT] == pytest.approx(kappa(both))


def _agreement_by_loop(frame: Frame, trained: Student) -> np.ndarray:
    counts = np.zeros((3, 3), np.int64)
    earlier = sweep_alone(frame, 1)
    there = {
        tuple(np.floor(point / np.float32(_SIZE)).astype(int)): label
        for point, label in zip(earlier.points, trained.predict(earlier), strict=True)
    }
    here = {
        tuple(np.floor(point / np.float32(_SIZE)).astype(int)): label
        for point, label in zip(frame.points[frame.keyframe], trained.predict(frame), strict=True)
    }
    for cell in here.keys() & there.keys():
        counts[here[cell] - 1, there[cell] - 1] += 1
    return counts


def test_ranks_share_the_frames() -> None:
    data = shards(14, 7)
    _, validation = hold_out(ValidationConfig(2), data, None)
    assert validation is not None
    seen: Counter[int] = Counter()

    class Watched(Validation):
        def _count(self, student: Any, frame: Frame) -> dict[str, Any]:
            seen[int(frame.token[-5:])] += 1
            return {}

    watched = Watched(data, validation.frames, 1, ())
    for rank in range(3):
        watched(student(), 1, 1, rank, 3)
    assert seen == Counter(validation.frames)


def test_it_is_due_every_so_many_epochs_and_at_the_end() -> None:
    validation = Validation(shards(4, 2), (1,), 4, (MIOU,))
    assert [epoch for epoch in range(1, 11) if validation(student(), epoch, 10)] == [4, 8, 10]


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


def test_a_student_that_says_one_thing_of_everything_agrees_with_nothing() -> None:
    assert kappa(np.diag([100, 0, 0])) == 0
    assert kappa(np.diag([50, 30, 20])) == 1
    assert kappa(np.zeros((3, 3), np.int64)) == 0
    independent = np.outer([10, 20, 70], [30, 30, 40])
    assert kappa(independent) == pytest.approx(0)
