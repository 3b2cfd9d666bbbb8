"""The commands that the documents give for real data run word for word, from the files of a data set to a score.

They run on small trees in the real formats (`tests.made.real_trees`); only the places of the trees are put in, and
options that make a training small are added: the networks of CLIP and MoCo have random weights and few layers here,
since theirs are not in the repository. One process stands for Ray (`tests.made.without_ray`).
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenelift.config.build import flatten
from scenelift.config.cli import given, parse
from scenelift.runs import run as running
from scenelift.train.plan import Plan
from tests.made import real_trees, without_ray
from trainables.distill.config import PRESETS as DISTILL
from trainables.distill.task import DistillTask

REPOSITORY = Path(__file__).parents[1]
CODE = re.compile(r"`([^`\n]+)`|^(?:ray job submit .* -- )?(python -m .*)$", re.MULTILINE)
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
RESNET = "--images.model resnet18 --images.weights random --augmentation.image.size 56 104"
FEW = ("--labels.fraction", "1")
"""One hundredth of the labels is less than a frame here."""


PrintedBy = Callable[[str], str]


RELEASES = (
    "nuscenes v1.0-trainval",
    "semantickitti 1.0",
    "scannet v2",
    "scanrefer v1",
    "flickr30k 1.0",
)


class AcceptedError(Exception):
    """Instead of a training: its task has accepted config and shards."""


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("real")
    return real_trees.write(folder)


@pytest.fixture
def run(run_as_it_is: PrintedBy, monkeypatch: pytest.MonkeyPatch) -> PrintedBy:
    """The same without Ray."""
    without_ray.patch(monkeypatch)
    return run_as_it_is


@pytest.fixture
def run_as_it_is(
    tmp_path: Path,
    tracked: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> PrintedBy:
    """Runs a command line in a folder of its own, which holds the runs of the commands before; what it prints."""
    tracked(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> str:
        words = shlex.split(line)
        assert words[:2] == ["python", "-m"]
        monkeypatch.setattr(sys, "argv", words[2:])
        capsys.readouterr()
        try:
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        except SystemExit:
            pytest.fail(f"{line}\n{capsys.readouterr().err}")
        return capsys.readouterr().out

    return run


def pasted(printed: str) -> list[str]:
    """The commands that a command says come next."""
    return re.findall(r"^next: (python .*)$", printed, re.MULTILINE)


def accepted(line: str, run: PrintedBy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a training's command until its task has accepted everything, and its batches can be filled."""

    def stop(task: Any) -> None:
        config = task.config
        frames, _ = task.validation()
        Plan(len(task.train if frames is None else frames), config.loop, config.scale.max_workers)
        raise AcceptedError

    with monkeypatch.context() as patched, pytest.raises(AcceptedError):
        patched.setattr(running, "run", stop)
        run(line)


def commands(page: Path) -> list[str]:
    """The page's commands about real data, in its order."""
    found = []
    text = page.read_text()
    short = dict(re.findall(r"`([A-Z]+)` (?:stands )?for `(python -m [^`]*)`", text))
    for inline, block in CODE.findall(text):
        line = inline or block
        word = line.partition(" ")[0]
        line = line.replace(word, short.get(word, word), 1)
        usage = any(sign in line for sign in ("[", "|", " DIR", "...", "/world"))
        real = line.startswith("python -m ") and ("--root " in line or "--data." in line)
        if real and not usage and "synthetic" not in line and line not in (*found, *short.values()):
            found.append(line)
    return found


def ablations(page: Path) -> list[list[str]]:
    """What the page says to add to DISTILL, as command lines of a distillation without its module."""
    text, known = page.read_text(), flatten(DISTILL["synthetic"]).keys()
    found = []
    for command in re.findall(r"`DISTILL` (?:stands )?for `(python -m [^`]*)`", text):
        lines = [shlex.split(f"{command} {options}")[3:] for options in re.findall(r"`(--[^`]+)`", text)]
        found += [words for words in lines if set(given(words)) <= known]
    return found


def small(line: str) -> str:
    """The command line with what makes it small."""
    module = line.split()[2]
    added = SMALL.get(module, "")
    added += f" {RESNET}" if module == "trainables.pretrain" and "paper" in line else ""
    if "--labels.fraction" in line:
        added += f" {shlex.join(FEW)}"
    added += " --scale.workers 2 --scale.cpus 0.5" if "--scale.workers" in line else ""
    return f"{line} {added}"


def placed(line: str, trees: dict[str, Path], runs: Path) -> str:
    """The command line with the places of the trees; NAME is the newest run."""
    words = []
    for word in shlex.split(line.replace("s3://BUCKET", "bucket").replace("/shared/runs", "runs")):
        first = next((name for name in trees if word == name or word.startswith(f"{name}/")), None)
        words.append(word if first is None else f"{trees[first]}{word.removeprefix(first)}")
    trained = [path.parent for path in runs.glob("*/student")]
    newest = max(trained, key=lambda path: path.stat().st_mtime).name if trained else "NAME"
    line = shlex.join(words).replace("runs/NAME/", f"runs/{newest}/")
    return line.replace("runs/other/", "runs/clip2scene/")


PAGES = [
    page
    for page in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
    if commands(page) and page.stem not in ("your_own_data", "predict")  # which have tests of their own
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_commands_of_a_page_run_on_real_data(
    page: Path,
    trees: dict[str, Path],
    run: PrintedBy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To a score where they name test shards; and what they print to come next is accepted as it stands."""
    glove = ("data/glove/glove.6B.300d.txt", str(trees["glove.6B.300d.txt"]))
    scored = 0
    for line in commands(page):
        printed = run(placed(small(line), trees, tmp_path / "runs"))
        results = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/result.json")]
        assert all(result["status"] == "finished" for result in results)
        scored += "--data.test" in line
        assert sum(bool(result["metrics"]) for result in results) == scored
        following = pasted(printed)
        if re.search(r"--split \w*train|trainables\.pretrain", line):
            assert len(following) == 1, printed
        for command in following:
            accepted(command.replace(*glove), run, monkeypatch)
    assert scored
    for words in ablations(page):
        DistillTask(parse(DISTILL, words, ""))  # whose shards lie here
    for path in (tmp_path / "runs").glob("*/run.json"):
        tags = json.loads(path.read_text())["tags"]
        assert tags["dataset"] in RELEASES and tags["protocol"]
        assert tags.get("lexicon") or tags["teacher"]


@pytest.mark.ray
def test_the_readmes_commands_for_nuscenes_run_on_ray(
    ray_session: None, trees: dict[str, Path], run_as_it_is: PrintedBy, tmp_path: Path
) -> None:
    for line in commands(REPOSITORY / "README.md")[:3]:
        run_as_it_is(placed(small(line), trees, tmp_path / "runs"))
    (result,) = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/result.json")]
    assert result["workers"] == 2 and {"label_free/miou", "teacher/miou"} <= result["metrics"].keys()


WORLDS = {
    "nuscenes": "datasets.synthetic tiny --workers 1",
    "semantickitti": "datasets.synthetic tiny --workers 1 --layout semantickitti",
    "scannet": "datasets.synthetic tiny --workers 1 --layout scannet",
    "rooms": "datasets.synthetic_rooms tiny",
    "images": "datasets.synthetic_images --train 8 --test 4 --channels 8",
}


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_what_is_printed_leads_from_a_synthetic_world_to_a_score(
    world: str, run: PrintedBy, tmp_path: Path
) -> None:
    """Each command as it was printed; trainings are made small, and scored on what they train on."""
    line, seen = f"python -m {WORLDS[world]} --out {shlex.quote(str(tmp_path / 'a world'))}", []
    while line:
        module = line.split()[2]
        seen.append(module)
        if module.startswith("trainables"):
            words = shlex.split(line)
            folder = words[words.index("--data.train") + 1]
            line += f" {TRAINING} --data.test {shlex.quote(folder)}"
            line += " --min_steps 0" if "finetune" in module else ""
        (line,) = pasted(run(line)) or ("",)
    results = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/result.json")]
    trained = [module for module in seen if module.startswith("trainables")]
    assert len(results) == len(trained) and all(result["metrics"] for result in results)
    identities = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/run.json")]
    assert all(identity["tags"]["dataset"].endswith("synthetic") for identity in identities)
    frames = world in ("nuscenes", "semantickitti", "scannet")
    assert len(seen) == 3 + frames and trained[1:] == ["trainables.finetune"] * frames
