"""Untrained students that name points by the words of the teacher that ships with the repository."""

from __future__ import annotations

import functools

import torch

from scenelift.config.build import to_dict
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.config import VoxelConfig
from scenelift.samples.vocabulary import Vocabulary
from trainables.common.config import TINY_TEACHER

SPOKEN = Vocabulary(
    "spoken-3",
    ("car", "tree", "road"),
    (("car",), ("tree", "bush"), ("road",)),
    ((9, 0, 0), (0, 9, 0), (0, 0, 9)),
)
CONFIG = StudentConfig(VoxelConfig(1.0), NetworkConfig(8, (8,), (8,)))


@functools.cache
def _text() -> torch.Tensor:
    from scenelift.teachers.clip import build_teacher

    return build_teacher(TINY_TEACHER, SPOKEN).text


def speaking_student(seed: int = 0) -> Student:
    """Compares points of one feature with the text of three classes; it says each class of some points."""
    torch.manual_seed(seed)
    student = Student(CONFIG, 1, _text(), SPOKEN, {"semantic": _text().shape[1]}).eval()
    with torch.no_grad():
        student.heads["semantic"].weight.mul_(20)
        student.heads["semantic"].bias.zero_()
    student.temperature, student.teacher = 0.5, to_dict(TINY_TEACHER)
    return student


def taught_student() -> Student:
    """Learned from labels: it has a classifier and no text."""
    torch.manual_seed(1)
    return Student(CONFIG, 1, torch.zeros(3, 0), SPOKEN, {"classifier": 3}).eval()
