"""The commands that the documents give for real data run word for word, from the files of a data set to a score.

They run on small trees in the real formats (`tests.made.real_trees`); only the places of the trees are put in, and
options that make a training small are added: the networks of CLIP and MoCo have random weights and few layers here,
since theirs are not in the repository. One process stands for Ray (`tests.made.without_ray`).
"""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.made import real_trees, without_ray

REPOSITORY = Path(__file__).parents[1]
CODE = re.compile(r"`([^`\n]+)`|^(python -m .*)$", re.MULTILINE)
TEACHER = "--teacher.model tiny --teacher.weights random --teacher.image_size 28 48"
TRAINING = "--loop.epochs 1 --loop.batch 2 --loop.checkpoint_every 0 --tracking.system_metrics 0"
SMALL = {
    "trainables.distill": f"{TRAINING} {TEACHER} --student.network tiny --self_training.start none",
    "trainables.pretrain": f"{TRAINING} {TEACHER} --student.network tiny",
    "trainables.finetune": f"{TRAINING} --student.network tiny --min_steps 0",
    "trainables.ground": f"{TRAINING} --network.width 16 --network.heads 2",
    "trainables.phrases": f"{TRAINING} --student.hidden 16 --student.lstm 16",
    "trainables.evaluate": f"{TEACHER} --tracking.system_metrics 0",
}
"""Trainable -> what is added to its commands."""
RESNET = "--images.model resnet18 --images.weights random"
FEW = ("--labels.fraction", "1")
"""One hundredth of the labels is less than a frame here."""


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return real_trees.write(tmp_path_factory.mktemp("real"))


@pytest.fixture
def run(
    tmp_path: Path, tracked: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Runs a command line in a folder of its own, which holds the runs of the commands before."""
    tracked(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    without_ray.patch(monkeypatch)

    def run(line: str) -> None:
        words = shlex.split(line)
        assert words[:2] == ["python", "-m"]
        monkeypatch.setattr(sys, "argv", words[2:])
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)

    return run


def commands(page: Path) -> list[str]:
    """The page's commands about real data, in its order."""
    found = []
    text = page.read_text()
    short = dict(re.findall(r"`([A-Z]+)` (?:stands )?for `(python -m [^`]*)`", text))
    for inline, block in CODE.findall(text):
        line = inline or block
        word = line.partition(" ")[0]
        line = line.replace(word, short.get(word, word), 1)
        usage = any(sign in line for sign in ("[", "|", " DIR", "...", "://"))
        real = line.startswith("python -m ") and ("--root " in line or "--data." in line)
        if real and not usage and "synthetic" not in line and line not in found:
            found.append(line)
    return found


def small(line: str) -> str:
    """The command line with what makes it small."""
    module = line.split()[2]
    added = SMALL.get(module, "")
    added += f" {RESNET}" if module == "trainables.pretrain" and "paper" in line else ""
    if "--labels.fraction" in line:
        added += f" {shlex.join(FEW)}"
    return f"{line} {added}"


def placed(line: str, trees: dict[str, Path], runs: Path) -> str:
    """The command line with the places of the trees; NAME is the newest run."""
    words = []
    for word in shlex.split(line):
        first = next((name for name in trees if word == name or word.startswith(f"{name}/")), None)
        words.append(word if first is None else f"{trees[first]}{word.removeprefix(first)}")
    trained = [path.parent for path in runs.glob("*/student")]
    newest = max(trained, key=lambda path: path.stat().st_mtime).name if trained else "NAME"
    return shlex.join(words).replace("runs/NAME/", f"runs/{newest}/")


PAGES = [
    page
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
    if commands(page)
]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_commands_of_a_page_run_on_real_data(
    page: Path, trees: dict[str, Path], run: Callable[[str], None], tmp_path: Path
) -> None:
    for line in commands(page):
        run(placed(small(line), trees, tmp_path / "runs"))
