"""Teachers and engines from outside: those of docs/your_own_teacher.md as they stand, from another folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scenelift.errors import ConfigError, TeacherError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.config import VoxelConfig
from scenelift.samples.vocabulary import Vocabulary
from scenelift.sparse.conformance import check_engine
from scenelift.sparse.layers import engine_class
from scenelift.sparse.torch_engine import TorchConv
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TEACHERS, TeacherConfig
from scenelift.teachers.conformance import check_teacher
from scenelift.teachers.teacher import Teacher
from tests.made.frames import made_up_frame

PAGE = Path(__file__).parents[1] / "docs" / "your_own_teacher.md"
COLORS = Vocabulary("colors", ("red", "blue"), (("red",), ("blue",)), ((9, 9, 9),) * 2)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The page's blocks by the file that they are; the current folder has the two classes."""
    teacher, check_colors, engine, check_dense = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    (tmp_path / "colors.py").write_text(teacher)
    (tmp_path / "dense.py").write_text(engine)
    yield {"teacher": check_colors, "engine": check_dense}
    for name in ("colors", "dense"):
        sys.modules.pop(name, None)


def test_the_pages_classes_are_built_by_their_names_and_pass_its_checks(page: dict[str, str]) -> None:
    config = TeacherConfig(model="colors.py:Colors", weights="none", image_size=(16, 16))
    teacher = build_teacher(config, COLORS)
    images = torch.zeros(1, 3, 16, 32, dtype=torch.uint8)
    images[:, 0, :, :16] = images[:, 2, :, 16:] = 255
    assert teacher.scores(images).argmax(1).tolist() == [[[0, 0, 1, 1]] * 2]
    engine_class("dense.py:Dense")
    for check in page.values():
        exec(compile(check, "page", "exec"), {})
    with pytest.raises(TeacherError, match="'tree' names no color"):
        build_teacher(config, Vocabulary("x", ("tree",), (("tree",),), ((0, 0, 0),)))


def test_a_student_with_an_engine_from_outside_says_what_torchs_says(
    page: dict[str, str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    students = []
    for engine in ("torch", "dense.py:Dense"):
        network = NetworkConfig(stem=4, encoder=(4, 8), decoder=(8, 4), engine=engine)
        config = StudentConfig(VoxelConfig(2.0), network)
        student = Student(config, 1, torch.zeros(2, 0), COLORS, {"classifier": 2}).eval()
        if students:
            student.load_state_dict(students[0].state_dict())
        students.append(student)
    frame = made_up_frame("frame-1")
    one, other = (student.predict(frame) for student in students)
    assert (one == other).all() and len(one)
    students[1].save(tmp_path / "student")
    assert (Student.load(tmp_path / "student").predict(frame) == one).all()


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("spconvv", "'spconvv' is not one of auto, spconv, torch; write it, or FILE.py:CLASS"),
        ("nowhere.py:Dense", "--engine: there is no file nowhere.py"),
    ],
)
def test_an_engine_that_is_not_there_is_refused_before_anything_is_loaded(engine: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        NetworkConfig(engine=engine).check_here()


def test_a_teacher_that_is_not_there_or_is_none_is_refused(page: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--teacher.model: there is no file nowhere.py"):
        TeacherConfig(model="nowhere.py:Make", weights="none").check_here("teacher.")
    (tmp_path / "no_teacher.py").write_text("def Make(config, vocabulary): return 3\n")
    with pytest.raises(
        ConfigError, match=r"makes a int, which does not derive from scenelift.teachers.teacher"
    ):
        build_teacher(TeacherConfig(model="no_teacher.py:Make", weights="none"), COLORS)


class Mistaken(Teacher):
    """Random but fixed features of patches of 4 x 4 pixels and of words."""

    @torch.no_grad()
    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images.float() / 255 + 0.1, 4)

    @torch.no_grad()
    def encode_prompts(self, prompts: list[str]) -> torch.Tensor:
        rows = torch.tensor([[1.0, len(prompt), sum(map(ord, prompt)) % 7] for prompt in prompts])
        return torch.nn.functional.normalize(rows, dim=1)


class Transposed(Mistaken):
    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        return super().tokens(images).transpose(2, 3)


class Upside(Mistaken):
    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        return super().tokens(images).flip(2)


class Chatty(Mistaken):
    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        return super().tokens(images) + images.float().mean() / 255


class Random(Mistaken):
    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        return super().tokens(images) + torch.rand(())


class Long(Mistaken):
    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens


class Counting(Mistaken):
    @torch.no_grad()
    def encode_prompts(self, prompts: list[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.arange(3.0 * len(prompts)).view(-1, 3) + 1, dim=1)


class Training(Mistaken):
    def train(self, mode: bool = True) -> Training:
        self.training = True
        return self


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (Transposed, "grid of patches is not that of the image"),
        (Upside, "grid of patches is not that of the image"),
        (Chatty, "change with the images around it"),
        (Random, "the same images give other features each time"),
        (Long, "what project gives is not of length 1"),
        (Counting, "changes with the prompts around it"),
        (Training, "must leave a teacher in evaluation mode"),
    ],
)
def test_a_mistake_of_a_teacher_is_found(cls: type[Mistaken], says: str) -> None:
    config = TeacherConfig(model="x", weights="none", image_size=(16, 32))
    check_teacher(Mistaken(config, COLORS).prepare())
    with pytest.raises(TeacherError, match=says):
        check_teacher(cls(config, COLORS).prepare())


def test_our_own_teacher_and_engines_conform() -> None:
    words = Vocabulary("x", ("car", "road"), (("car",), ("road",)), ((9, 9, 9),) * 2)
    check_teacher(build_teacher(TEACHERS["tiny"], words))
    check_engine(engine_class("auto"))


class Doubled(TorchConv):
    def forward(self, features, source, target):
        return 2 * super().forward(features, source, target)


class Cut(TorchConv):
    def forward(self, features, source, target):
        return super().forward(features.detach(), source, target) + 0 * features.sum()


@pytest.mark.parametrize(
    ("cls", "says"), [(Doubled, "other features than plain torch"), (Cut, "other gradients")]
)
def test_a_mistake_of_an_engine_is_found(cls: type[TorchConv], says: str) -> None:
    with pytest.raises(ConfigError, match=f"submanifold with kernel 3.* gives {says}"):
        check_engine(cls)
