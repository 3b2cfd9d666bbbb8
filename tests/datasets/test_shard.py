"""Protects `python -m datasets.shard`: a real frame from its files to shards, and one line for every mistake."""

from __future__ import annotations

import dataclasses
import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from datasets.shard.config import PRESETS, ShardConfig
from datasets.shard.run import run
from scenelift.config.cli import command, parse
from scenelift.errors import ConfigError, DataError
from scenelift.samples.frame import FrameSet
from scenelift.shards.read import Shards
from tests.made.kitti_tree import KittiTree
from tests.made.scannet_tree import ScanNetTree

pytestmark = pytest.mark.ray

LABELS = {
    "pedestrian": 109,
    "barrier": 289,
    "traffic_cone": 13,
    "bicycle": 1,
    "bus": 3,
    "car": 79,
    "construction_vehicle": 4,
    "truck": 486,
}
"""Points of the real frame by class; all others are ignored."""


def config(root: Path, out: Path, dataset: str = "nuscenes", **changes: object) -> ShardConfig:
    version = {"nuscenes": "v1.0-mini"}.get(dataset, PRESETS[dataset].version)
    given = {"root": root, "version": version, "out": str(out), **changes}
    return dataclasses.replace(PRESETS[dataset], **given)  # type: ignore[arg-type]


def test_real_frame_through_the_whole_job(
    ray_session: None, real_nuscenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = run(config(real_nuscenes, tmp_path / "out"))
    about = FrameSet.of(manifest)
    assert (manifest.samples, about.points, len(about.pairs)) == (1, 34688, 6)
    assert about.labels is not None
    assert {name: count for name, count in about.labels.items() if count} == LABELS | {
        "ignored": 34688 - sum(LABELS.values())
    }
    frame = Shards.open(str(tmp_path / "out")).read(0)
    assert [Image.open(io.BytesIO(image)).size for image in frame.images] == [(416, 224)] * 6
    assert len(frame.pair_points) == sum(about.pairs.values())
    said = capsys.readouterr().out
    flags = "--augmentation.lidar_sweeps 0 --loop.batch 1 --scale.workers 1"
    line = f"next: python -m trainables.distill nuscenes --data.train {tmp_path / 'out'} {flags}"
    assert "34,688" in said and line in said


def test_truncated_point_file_is_listed_with_its_reason(
    ray_session: None, real_nuscenes: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(real_nuscenes, tmp_path / "nuscenes"))
    points = next((root / "samples" / "LIDAR_TOP").iterdir())
    points.chmod(0o644)
    points.write_bytes(points.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"1 of 1 frames cannot be read.*truncated"):
        run(config(root, tmp_path / "out"))
    assert "truncated" in (tmp_path / "out" / "bad.json").read_text()


def test_real_kitti_frame_and_real_room(
    ray_session: None, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kitti = run(config(real_data / "semantickitti", tmp_path / "kitti", "semantickitti", split="val"))
    scans = FrameSet.of(kitti)
    assert (kitti.samples, scans.points, scans.cameras, scans.labels) == (1, 17238, ("image_2",), None)
    assert scans.image_size == (160, 528) and scans.vocabulary.name == "semantickitti-19"
    frame = Shards.open(str(tmp_path / "kitti")).read(0)
    assert Image.open(io.BytesIO(frame.images[0])).size == (528, 160)
    room = run(config(real_data / "scannet", tmp_path / "room", "scannet", split="train"))
    points = FrameSet.of(room)
    assert (room.samples, points.points, points.pairs, points.labels) == (1, 40684, {}, None)
    assert Shards.open(str(tmp_path / "room")).read(0).features.shape == (40684, 3)
    said = capsys.readouterr().out
    assert f"give it --data.test {tmp_path / 'kitti'}" in said and "none, as there are no images" in said
    assert "without labels nothing can be trained on these shards" in said and "next:" not in said


@pytest.mark.parametrize("dataset", ["semantickitti", "scannet"])
def test_a_restarted_job_gives_the_bytes_of_an_unbroken_one(
    ray_session: None, dataset: str, tmp_path: Path
) -> None:
    """As a killed job leaves it: some shards whole, one half written, no manifest."""
    {"semantickitti": KittiTree, "scannet": ScanNetTree}[dataset](tmp_path / "data")
    job = config(tmp_path / "data", tmp_path / "out", dataset, image_size=(32, 48), per_shard=1)
    unbroken = run(dataclasses.replace(job, superpixels=6))
    kept = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    names = [shard.name for shard in unbroken.shards]
    assert len(names) == unbroken.samples >= 3
    (tmp_path / "out" / names[1]).write_bytes(kept[names[1]][:1000])
    (tmp_path / "out" / names[-1]).unlink()
    (tmp_path / "out" / "manifest.json").unlink()
    assert run(dataclasses.replace(job, superpixels=6)) == unbroken
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == kept
    frame = Shards.open(str(tmp_path / "out")).read(0)
    assert frame.superpixels is not None and len(frame.superpixels) == len(frame.images) > 0
    about = FrameSet.of(unbroken)
    assert about.labels is not None and sum(about.labels.values()) == about.points


def test_presets_keep_about_the_aspect_of_the_photos() -> None:
    native = {"nuscenes": (900, 1600), "semantickitti": (376, 1241), "scannet": (968, 1296)}
    assert {*native, "own"} == set(PRESETS)
    for name, (height, width) in native.items():
        rows, columns = PRESETS[name].image_size
        assert abs(columns * height / (rows * width) - 1) < 0.05 and rows % 16 == columns % 16 == 0


def said(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command answers to a wrong command line, which must be one line, status 1 and no Ray."""
    monkeypatch.setattr(sys, "argv", ["shard", *words.split()])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(SystemExit) as stopped:
        command("datasets.shard", PRESETS, "run")
    output = capsys.readouterr()
    assert stopped.value.code == 1 and output.out == "" and output.err.count("\n") == 1
    return output.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("kitti --root .", "unknown preset kitti; known: nuscenes, own, scannet, semantickitti"),
        ("nuscenes", "--root is missing"),
        ("nuscenes --rot .", "did you mean root?"),
        ("nuscenes --root /nowhere/at/all", "root: there is no /nowhere/at/all"),
        ("nuscenes --root . --dataset kitti", "unknown data set kitti; known: nuscenes, scannet"),
        ("semantickitti", "--root is missing: the folder where semantickitti is unpacked"),
        ("semantickitti --root tests", "has no folder sequences"),
        ("scannet --root tests", "has no folder scans"),
        ("scannet --root . --superpixels -1", "superpixels must be at least 0, not -1"),
        ("--root .  --source nowhere.py:Mine", "--source: there is no file nowhere.py"),
        (
            "--root . --source tests/made/frames.py:Nothing",
            "frames.py has no Nothing; known: MadeUp, MadeUpKeyframe",
        ),
        ("--source tests/made/frames.py:MadeUp", "--root is missing"),
        ("own --root .", "write --source FILE.py:CLASS"),
        ("nuscenes --root . --source a.py:B", "--source reads your own data, and not nuscenes"),
        ("nuscenes --root . --max-bad -1", "max_bad must be at least 0, not -1"),
        ("nuscenes --root . --per_shard 0", "per_shard must be at least 1, not 0"),
        ("nuscenes --root . --image_size 224", "image_size takes 2 values"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    words: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in said(words, monkeypatch, capsys)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_size must be at least 1, not 0"):
        ShardConfig(image_size=(0, 416))


def test_folder_without_out_says_what_is_in_it() -> None:
    assert ShardConfig(version="v1.0-mini").folder == "data/shards/nuscenes/v1.0-mini/all"
    assert ShardConfig(split="train").folder == "data/shards/nuscenes/v1.0-trainval/train"
    assert PRESETS["scannet"].folder == "data/shards/scannet/v2/all"
    own = parse(PRESETS, ["--source", "a/mine.py:Mine", "--split", "train"], "")
    assert own.folder == "data/shards/mine/1/train"
