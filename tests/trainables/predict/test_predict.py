"""`trainables.predict`: shards as `evaluate` labels them, data sets as their benchmarks want them, real scans."""

from __future__ import annotations

import json
import re
import shlex
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.nuscenes import submission as lidarseg
from datasets.nuscenes.classes import FULL
from datasets.semantickitti import submission as kitti
from datasets.semantickitti.classes import VOCABULARY
from scenelift.config.cli import command
from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.metrics import confusion
from scenelift.inference import job
from scenelift.inference.config import InputConfig
from scenelift.nn.student import Student
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from tests.made import without_ray
from tests.made.frames import OPTIONS, MadeUp
from tests.made.kitti_tree import KittiTree
from tests.made.nuscenes_tree import VERSION, Tree
from tests.made.students import CONFIG, speaking_student
from trainables.common.scoring import Predictors, evaluate
from trainables.predict.config import PRESETS, Prediction
from trainables.predict.run import DatasetScans, run


def taught(folder: Path, vocabulary: Vocabulary, features: int = 1) -> str:
    """The folder of a student with a classifier for these classes."""
    torch.manual_seed(0)
    count = len(vocabulary.classes)
    student = Student(CONFIG, features, torch.zeros(count, 0), vocabulary, {"classifier": count}).eval()
    student.save(folder / "student")
    return str(folder / "student")


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shards:
    without_ray.patch(monkeypatch)
    write_shards(MadeUp(frames=6), None, str(tmp_path / "shards"), replace(OPTIONS, lidar_sweeps=1))
    return Shards.open(str(tmp_path / "shards"))


def test_labels_of_shards_are_those_that_evaluate_scores(shards, tmp_path):
    """Bit by bit, for the points of the keyframe, in their order; and so their confusion matrix is the same."""
    student = taught(tmp_path, shards.vocabulary)
    make = Predictors(shards.vocabulary, {"student": student})
    scored = evaluate(shards, make, "scoring").matrices["student"]["all"]
    out = Path(run(Prediction(student, shards.path, str(tmp_path / "out"), "npz", device="cpu")))
    counted = np.zeros_like(scored)
    for index, token in enumerate(shards.tokens):
        ids, frame = np.load(out / f"{token}.npz")["ids"], shards.read(index)
        assert np.array_equal(ids, make(torch.device("cpu"))["student"].predict(frame))
        assert frame.labels is not None
        counted += confusion(
            frame.labels[frame.keyframe], ids.astype(np.uint8), len(shards.vocabulary.classes)
        )
    assert np.array_equal(counted, scored) and (scored.sum(0) > 0).sum() > 1, "several classes are said"


@pytest.mark.ray
def test_several_workers_write_what_one_writes(tmp_path, ray_session):
    speaking_student().save(tmp_path / "student")
    rng = np.random.default_rng(0)
    (tmp_path / "scans").mkdir()
    for number in range(7):
        np.save(tmp_path / "scans" / str(number), rng.normal(0, 9, (50 + number, 4)).astype(np.float32))
    config = Prediction(
        str(tmp_path / "student"), str(tmp_path / "scans"), str(tmp_path / "one"), "label", device="cpu"
    )
    one = Path(run(config))
    two = Path(run(replace(config, out=str(tmp_path / "two"), workers=2)))
    assert {path.name: path.read_bytes() for path in one.glob("*.label")} == {
        path.name: path.read_bytes() for path in two.glob("*.label")
    }


@pytest.mark.parametrize("plain", [False, True])
def test_a_submission_to_semantickitti(tmp_path, plain, capsys):
    """From the data set, or from its plain files: the same bytes, at the same place."""
    tree = KittiTree(tmp_path / "kitti")
    where = (
        {"data": str(tree.root)}
        if plain
        else {"dataset": "semantickitti", "root": tree.root, "version": "1.0"}
    )
    student = taught(tmp_path, VOCABULARY)
    out = Path(
        run(Prediction(student, out=str(tmp_path / "out"), format="semantickitti", device="cpu", **where))
    )
    assert kitti.check(out, tree.root) == 8 and "8 files follow the rules" in capsys.readouterr().err
    rows = np.fromfile(tree.root / "sequences/08/velodyne/000002.bin", np.float32).reshape(-1, 4)
    from scenelift.inference.labeler import load

    ids = load(student, "cpu").predict(rows).ids
    raw = np.fromfile(out / "sequences/08/predictions/000002.label", np.uint32)
    assert np.array_equal(raw, kitti.RAW[ids])


def test_a_submission_to_nuscenes(tmp_path):
    tree = Tree(tmp_path / "nuscenes")
    config = Prediction(
        taught(tmp_path, FULL),
        out=str(tmp_path / "out"),
        format="nuscenes",
        device="cpu",
        dataset="nuscenes",
        root=tree.root,
        version=VERSION,
        split="mini_val",
    )
    out = Path(run(config))
    records = json.loads((tree.root / VERSION / "sample_data.json").read_text())
    lidar = {
        row["token"]: (tree.root / row["filename"]).stat().st_size // 20
        for row in records
        if row["is_key_frame"] and "LIDAR" in row["filename"] and "0103" in row["sample_token"]
    }
    assert lidarseg.check(out, "mini_val", lidar) == len(lidar) == 3
    file = next((out / "lidarseg" / "mini_val").iterdir())
    file.write_bytes(b"\0" + file.read_bytes()[1:])
    with pytest.raises(DataError, match=r"not 1\.\.16"):
        lidarseg.check(out, "mini_val", lidar)


def trees(folder: Path) -> dict[str, Path]:
    """Data sets by the places that the page names, with its releases and splits."""
    for version, scene in (("v1.0-trainval", "scene-0003"), ("v1.0-test", "scene-0077")):
        tree = Tree(folder / version, (scene,))
        (tree.root / VERSION).rename(tree.root / version)
    KittiTree(folder / "kitti", ("08", "11"))
    return {version: folder / version for version in ("v1.0-trainval", "v1.0-test")} | {
        "kitti": folder / "kitti"
    }


def test_the_pages_commands_on_data_sets_run_as_they_stand(tmp_path, monkeypatch, capsys):
    found, page = trees(tmp_path), (Path("docs") / "predict.md").read_text()
    commands = re.findall(r"(?:^|`)(python -m trainables.predict .*--root [^`\n]*)", page, re.MULTILINE)
    students = {"nuscenes": taught(tmp_path / "a", FULL), "semantickitti": taught(tmp_path / "b", VOCABULARY)}
    monkeypatch.chdir(tmp_path)
    for number, command_line in enumerate(commands):
        words = shlex.split(command_line)[3:]
        dataset = words[words.index("--dataset") + 1]
        version = words[words.index("--version") + 1] if "--version" in words else "v1.0-trainval"
        words[words.index("--student") + 1] = students[dataset]
        words[words.index("--root") + 1] = str(found["kitti" if dataset == "semantickitti" else version])
        out = f"out-{number}"
        words = [out if word == "submission" else word for word in words]
        monkeypatch.setattr(sys, "argv", ["predict", *words, *([] if out in words else ["--out", out])])
        command("trainables.predict", PRESETS, "run")
        assert f"labels: {tmp_path / out}" in capsys.readouterr().out
        assert any((tmp_path / out).rglob("*.*"))
    assert len(commands) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "nuscenes", "data": "."}, "--dataset nuscenes --root ROOT"),
        ({"format": "semantickitti", "threshold": 0.5, "data": "."}, "a class for every point"),
        ({"format": "semantickitti", "data": "."}, "is for the classes car, bicycle"),
    ],
)
def test_what_a_benchmark_would_refuse(options, message, tmp_path):
    speaking_student().save(tmp_path / "student")
    np.save(tmp_path / "cloud.npy", np.zeros((3, 4)))
    options = options | {"data": str(tmp_path), "out": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match=message):
        run(Prediction(str(tmp_path / "student"), device="cpu", **options))


def test_nothing_to_label_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no cloud to label"):
        job.run(Prediction("student", "data"), DatasetScans(MadeUp(), (), InputConfig()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "."], "--student is missing"),
        (["scans/one.bin"], "is given by its option: --data scans/one.bin"),
        (["--dataset", "nuscenes"], "--root is missing"),
        (["--dataset", "kitti", "--root", "."], "unknown data set kitti; known: nuscenes"),
        (["--data", ".", "--dataset", "nuscenes", "--root", "."], "give one of --data"),
        (["--data", ".", "--split", "val"], "of a --dataset"),
        (["--student", "nope", "--data", "."], "there is no nope"),
        (["--student", ".", "--data", "/nope"], "there is no /nope"),
    ],
)
def test_a_mistake_is_one_line(words, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["predict", *words])
    with pytest.raises(SystemExit):
        command("trainables.predict", PRESETS, "run")
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "points"), [("nuscenes/samples/LIDAR_TOP", 34_688), ("semantickitti/sequences", 17_238)]
)
def test_real_scans_from_plain_files(real_data, data, points, tmp_path):
    """The layout is found by itself, and each point has a label at its place."""
    student, out = tmp_path / "student", tmp_path / "out"
    speaking_student().save(student)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Prediction(str(student), str(real_data / data), str(out), "label", device="cpu"))
    (file,) = out.rglob("*.label")
    assert file.stat().st_size == 4 * points
