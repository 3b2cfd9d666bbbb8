"""Whose class names the teacher chooses between (clip2scene.md 2.1 and Table 3)."""

from typing import get_args

import pytest

from datasets.nuscenes.classes import FULL
from trainables.distill.config import Prompts
from trainables.distill.task import student_classes, teacher_classes


def test_the_papers_prompts_are_one_word_a_class():
    words = [words[0] for words in student_classes(FULL, "paper").words]
    assert ", ".join(words) == (
        "barrier, bicycle, bus, car, construction vehicle, motorcycle, pedestrian, traffic_cone, trailer, truck, "
        "driveable surface, other_flat, sidewalk, terrain, manmade, vegetation"
    )
    assert student_classes(FULL, "words") is FULL and any(len(words) > 1 for words in FULL.words)


@pytest.mark.parametrize("prompts", get_args(Prompts))
def test_the_student_is_always_asked_for_the_data_sets_own_classes(prompts):
    assert student_classes(FULL, prompts).classes == FULL.classes
    taught = teacher_classes(FULL, prompts)
    assert len(set(taught.classes)) == len(taught.classes)
    if prompts in ("words", "paper"):
        assert taught == student_classes(FULL, prompts)


def test_other_data_sets_have_their_own_numbers_of_classes():
    counts = {
        prompts: len(teacher_classes(FULL, prompts).classes)
        for prompts in ("semantickitti", "cityscapes", "all")
    }
    assert counts["semantickitti"] == counts["cityscapes"] == 19
    assert 19 + 16 > counts["all"] > 19


@pytest.mark.parametrize("prompts", ["paper", "all"])
def test_rows_of_the_prompts_ablation_are_spelled_alike(prompts):
    """The authors' own list has underscores, in the union of all data sets too."""
    words = {words[0] for words in teacher_classes(FULL, prompts).words}
    assert {"traffic_cone", "other_flat"} <= words and not {"traffic cone", "other flat"} & words
    assert student_classes(FULL, prompts) == student_classes(FULL, "paper")
