"""docs/your_own_data.md from files to labels, in a folder outside of the repository: its adapter and its commands
as they stand; only the networks are made small."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

from datasets.check.config import PRESETS as CHECK
from datasets.check.run import run as check
from scenelift.config.cli import parse
from scenelift.errors import DataError, TeacherError
from tests.made import own_data

SMALL = {
    "trainables.distill": "--teacher.model tiny --teacher.weights random --teacher.image_size 28 48 "
    "--loop.epochs 1 --self_training.start none --student.network tiny --tracking.system_metrics 0 "
    "--scale.cpus 0.5 --run.name own",
    "trainables.predict": "--out labels --device cpu",
}
"""What is added to a command: the weights of CLIP are not in the repository."""


@pytest.fixture
def folder(
    outside_folder: Path, tracked: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with `mine.py` and drives; it is the current one."""
    (outside_folder / "mine.py").write_text(own_data.example())
    if not (outside_folder / "data").exists():
        own_data.record(outside_folder / "data", "monday", 4)
        own_data.record(outside_folder / "data", "friday", 2)
        tracked(outside_folder / "runs")
    monkeypatch.chdir(outside_folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    yield outside_folder
    sys.modules.pop("mine", None)


def commands() -> list[list[str]]:
    """The page's commands, each with what makes it small and the place of the data."""
    lines = re.findall(r"^python -m .*$", own_data.PAGE.read_text(), re.MULTILINE)
    assert len(lines) == 5
    words = [shlex.split(f"{line} {SMALL.get(line.split()[2], '')}") for line in lines]
    named = {"ROOT": "data", "runs/NAME/student": "runs/own/student"}
    return [[named.get(word, word) for word in command[2:]] for command in words]


def said(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", words)
    capsys.readouterr()
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit:
        pytest.fail(f"{shlex.join(words)}\n{capsys.readouterr().err}")
    return capsys.readouterr().out


def test_the_page_leads_from_files_to_labels(
    ray_session: None, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checked, train, val, distilled, predicted = commands()
    (line,) = re.findall(r"next: python -m (.*)", said(checked, monkeypatch, capsys))
    assert line.startswith(shlex.join(train).partition(" --split")[0]) and shlex.split(line)[0] == train[0]
    (line,) = re.findall(r"next: python -m (.*)", said(train, monkeypatch, capsys))
    assert shlex.join(distilled).startswith(f"{line} --data.test data/shards/mine/1/val")
    assert "--source mine.py:Mine" in (folder / "data/shards/mine/1/train/manifest.json").read_text()
    assert "next:" not in said(val, monkeypatch, capsys)
    said(distilled, monkeypatch, capsys)
    said(predicted, monkeypatch, capsys)
    labels = sorted((folder / "labels").rglob("*.ply"))
    assert [path.relative_to(folder / "labels").as_posix() for path in labels] == [
        "friday/000.ply",
        "friday/001.ply",
    ]
    vertices = PlyData.read(labels[0])["vertex"]
    cloud = np.fromfile(folder / "data/friday/points/000.bin", "<f4").reshape(-1, 4)
    assert np.allclose(np.stack([vertices[axis] for axis in "xyz"], 1), cloud[:, :3])


def checked(folder: Path, *words: str) -> None:
    given = ["--source", "mine.py:Mine", "--root", str(folder / "data"), "--image_size", "36", "64", *words]
    config = parse(CHECK, given, "")
    config.check_here()
    check(config)


def test_a_check_finds_the_camera_and_draws_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked(folder, "--split", "train", "--frames", "2", "--out", str(folder / "pictures"))
    told = capsys.readouterr().out
    assert re.search(r"camera front +\d+ points; at x -?0\.\d+, y -?0\.\d+, z -?0\.\d+ m, looks ahead", told)
    assert "4 keyframes, 2 checked" in told and "note:" not in told
    pictures = sorted(path.name for path in (folder / "pictures").iterdir())
    assert pictures == [f"monday_00{n}_{what}.png" for n in (0, 3) for what in ("depth", "labels")]


def test_words_that_the_teacher_does_not_know_are_answered_as_the_page_says(folder: Path) -> None:
    (told,) = re.findall(r"^error: (.*)$", own_data.PAGE.read_text(), re.MULTILINE)
    with pytest.raises(TeacherError, match=re.escape(told)):
        checked(folder, "--teacher", "tiny")


def test_photos_in_another_aspect_and_mirrored_ones_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked(folder, "--image_size", "64", "64", "--frames", "1")
    told = capsys.readouterr().out
    assert "photos are stretched 0.5" in told
    ((height, width),) = re.findall(r"--image_size (\d+) (\d+) keeps their aspect", told)
    assert int(height) / int(width) == pytest.approx(36 / 64, rel=0.2)
    code = own_data.example().replace("        return rig_frame(", "        frame = rig_frame(")
    code += "        frame.pair_pixels[:, 2] = frame.image_size[1] - 1 - frame.pair_pixels[:, 2]\n"
    code += "        return frame\n"
    (folder / "mine.py").write_text(code)
    sys.modules.pop("mine", None)
    with pytest.raises(DataError, match=r"front shows its points mirrored.*Look at "):
        checked(folder)
