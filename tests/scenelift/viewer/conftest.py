"""Frames in memory with two students and a teacher, as the viewer shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from scenelift.config.build import to_dict
from scenelift.inference.labeler import Labeler
from scenelift.nn.student import Student
from scenelift.samples.config import ReadOptions
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.viewer.answers import Answers
from scenelift.viewer.explorer import Explorer
from scenelift.viewer.scans.view import View
from tests.made.frames import VOCABULARY, made_up_frame
from tests.made.validation import student

SIZE = (14, 24)
TEACHER = TeacherConfig(weights="random", image_size=SIZE)


@dataclass(frozen=True)
class MadeUpScans:
    """What the viewer asks of scans, from frames in memory."""

    count: int = 4
    path: str = "made-up"
    vocabulary: Vocabulary | None = VOCABULARY
    paired: bool = True
    key: str = "made-up"

    @property
    def names(self) -> list[str]:
        return [f"frame-{i:05d}" for i in range(self.count)]

    @property
    def scenes(self) -> list[str]:
        return [f"scene-{i // 2}" for i in range(self.count)]

    def read(self, index: int) -> View:
        return View.of_frame(
            made_up_frame(self.names[index], ReadOptions(image_size=SIZE, lidar_sweeps=1), 300)
        )


def speaking(seed: int) -> Labeler:
    """A labeler whose features are of the space of the tiny teacher with random weights."""
    teacher = build_teacher(TEACHER, VOCABULARY)
    small = student()
    torch.manual_seed(seed)
    made = Student(small.config, 1, teacher.text, VOCABULARY, {"semantic": teacher.text.shape[1]})
    made.teacher = to_dict(TEACHER)
    return Labeler(made)


@pytest.fixture(scope="session")
def explorer() -> Any:
    students = {"student": speaking(1), "against": speaking(2)}
    return Explorer(MadeUpScans(), Answers(students, build_teacher(TEACHER, VOCABULARY)))
