"""Protects what trainings are chosen by: scenes are held out whole, and ranks share them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from scenelift.errors import ConfigError
from scenelift.evaluation.config import ValidationConfig
from scenelift.evaluation.metrics import kappa
from scenelift.evaluation.scoring import Validation, hold_out
from tests.made.validation import shards, student


class Tokens:
    """Counts which frames were seen."""

    names = ("validation/seen",)

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()

    def count(self, student: Any, samples: Any) -> dict[str, Any]:
        assert not student.training
        self.seen.update(int(frame.token[-5:]) for frame in samples)
        return {}

    def metrics(self, counts: dict[str, Any]) -> dict[str, float]:
        return {"validation/seen": 1.0}


@pytest.mark.parametrize("one_of", [2, 3, 5])
def test_whole_scenes_are_held_out_and_never_trained_on(one_of: int) -> None:
    data = shards(40, 10)
    kept, chosen = hold_out(ValidationConfig(one_of), data, None)
    assert kept is not None
    trained, held = {data.scenes[i] for i in kept}, {data.scenes[i] for i in chosen}
    assert not trained & held and trained | held == set(data.scenes)
    assert len(held) == 10 // one_of and sorted([*kept, *chosen]) == list(range(40))


def test_of_chosen_frames_those_of_held_out_scenes_are_not_trained_on() -> None:
    data = shards(40, 10)
    kept, _ = hold_out(ValidationConfig(5), data, range(0, 40, 3))
    assert kept == [i for i in range(0, 40, 3) if data.scenes[i] not in ("scene-4", "scene-9")]


def test_no_more_frames_are_scored_than_asked_for() -> None:
    _, chosen = hold_out(ValidationConfig(2, max_samples=7), shards(40, 10), None)
    assert len(set(chosen)) == 7


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be taken from the 4 scenes"):
        hold_out(ValidationConfig(5), shards(8, 4), None)
    with pytest.raises(ConfigError, match="cannot be taken"):
        hold_out(ValidationConfig(2), shards(8, 4), [2, 3])
    for wrong in ({"holdout_every": 1}, {"holdout_every": -1}, {"max_samples": 0}, {"every": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ValidationConfig(**wrong)


def test_nothing_is_held_out_unless_asked_for() -> None:
    assert hold_out(ValidationConfig(), shards(8, 4), [1, 2]) == ([1, 2], ())


def test_ranks_share_the_frames_and_the_student_goes_on_training() -> None:
    data, measure, trained = shards(14, 7), Tokens(), student().train()
    _, chosen = hold_out(ValidationConfig(2), data)
    validation = Validation(data, chosen, 1, measure)
    for rank in range(3):
        validation(trained, 1, 1, rank, 3)
    assert measure.seen == Counter(chosen) and trained.training


def test_it_is_due_every_so_many_epochs_and_at_the_end() -> None:
    validation = Validation(shards(4, 2), (1,), 4, Tokens())
    assert [epoch for epoch in range(1, 11) if validation(student(), epoch, 10)] == [4, 8, 10]


def test_a_student_that_says_one_thing_of_everything_agrees_with_nothing() -> None:
    assert kappa(np.diag([100, 0, 0])) == 0
    assert kappa(np.diag([50, 30, 20])) == 1
    assert kappa(np.zeros((3, 3), np.int64)) == 0
    independent = np.outer([10, 20, 70], [30, 30, 40])
    assert kappa(independent) == pytest.approx(0)
