"""On real data a command wants a preset, and says which; on the synthetic worlds it needs none."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from scenelift.config.cli import check_preset, parse
from scenelift.config.files import dump
from scenelift.errors import ConfigError
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import MANIFEST, Manifest
from tests.scenelift.config.test_light import COMMAND, printed
from trainables.common.presets import require_suited

TRAINABLES = ("distill", "pretrain", "finetune", "evaluate", "ground", "phrases")
KINDS = {"ground": "room", "phrases": "captioned image"}
SYNTHETIC = {"nuscenes": "v1.1-synthetic"}


def config_of(name: str) -> Any:
    return import_module(f"trainables.{name}.config")


def shards(folder: Path, name: str, dataset: str, version: str) -> str:
    """A folder with a manifest of the trainable's kind of samples, which names the data set and little else."""
    kind = KINDS.get(name, "frame")
    manifest = Manifest(kind, 1, dataset, version, "train", {}, 8, 0, (), (), "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest)))
    return str(folder)


def asked(name: str, *words: str) -> None:
    """What the command does before it imports its work."""
    presets = config_of(name).PRESETS
    check_preset(parse(presets, words, name), presets, words, f"python -m trainables.{name}")


def data_option(name: str) -> str:
    return "--data.test" if name == "evaluate" else "--data.train"


@pytest.mark.parametrize("name", TRAINABLES)
def test_every_preset_is_made_for_a_data_set_or_for_the_synthetic_worlds(name: str) -> None:
    config = config_of(name)
    made = {preset for presets in config.SUITED.values() for preset in presets}
    assert made == {preset for preset in config.PRESETS if "synthetic" not in preset} - {"own"}


@pytest.mark.parametrize("name", TRAINABLES)
def test_without_a_preset_real_shards_are_refused_with_the_line_to_type(name: str, tmp_path: Path) -> None:
    for dataset, presets in config_of(name).SUITED.items():
        folder = shards(tmp_path / dataset, name, dataset, "v1.0-trainval")
        with pytest.raises(ConfigError, match=f"{dataset} v1.0-trainval, and without a preset") as caught:
            asked(name, data_option(name), folder)
        said = str(caught.value)
        assert "\n" not in said and all(preset in said for preset in presets)
        (line,) = re.findall(r"name the preset: python -m (trainables\.\w+ [^(]*)", said)
        assert shlex.split(line) == [f"trainables.{name}", presets[0], data_option(name), folder]
        asked(name, *shlex.split(line)[1:])


@pytest.mark.parametrize("name", TRAINABLES)
def test_the_synthetic_worlds_and_replayed_configs_need_no_preset(name: str, tmp_path: Path) -> None:
    for dataset in config_of(name).SUITED:
        version = SYNTHETIC.get(dataset, "synthetic")
        asked(name, data_option(name), shards(tmp_path / dataset, name, dataset, version))
    presets = config_of(name).PRESETS
    (preset, *_), *_ = config_of(name).SUITED.values()
    words = [preset, data_option(name), shards(tmp_path, name, "mine", "1")]
    check_preset(parse(presets, words, name), presets, ["--config", "runs/earlier/config.yaml"], name)


@pytest.mark.parametrize("name", TRAINABLES)
def test_ones_own_data_are_told_where_to_start(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards(tmp_path / "own", name, "mine", "synthetic")
    with pytest.raises(ConfigError, match="no preset is made for mine") as caught:
        asked(name, data_option(name), folder)
    (line,) = re.findall(r": python -m trainables\.\w+ (.*)$", str(caught.value))
    asked(name, *shlex.split(line))
    assert ("own" in config_of(name).PRESETS) == (shlex.split(line)[0] == "own")
    assert not capsys.readouterr().err


def test_a_preset_of_other_data_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shards(tmp_path, "distill", "semantickitti", "1.0")
    asked("distill", "semantickitti", "--data.train", folder)
    assert not capsys.readouterr().err
    for preset, words in (
        ("synthetic", "is for the synthetic world"),
        ("nuscenes", "made for it: semantickitti"),
    ):
        asked("distill", preset, "--data.train", folder)
        assert words in capsys.readouterr().err


def test_a_replayed_config_of_the_synthetic_world_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "config.yaml", shards(tmp_path / "real", "distill", "nuscenes", "v1.0-mini")
    presets = config_of("distill").PRESETS
    for preset, says in (("synthetic", "synthetic is for the synthetic world"), ("nuscenes", "")):
        path.write_text(dump(presets[preset]))
        asked("distill", "--config", str(path), "--data.train", folder)
        said = capsys.readouterr().err
        assert says in said and bool(said) == bool(says)


def test_an_evaluation_without_a_teacher_needs_no_preset(tmp_path: Path) -> None:
    folder = shards(tmp_path, "evaluate", "nuscenes", "v1.0-mini")
    asked("evaluate", "--data.test", folder, "--with_teacher", "false", "--student", "s")


def test_it_is_decided_by_the_manifest_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    folder = shards(tmp_path, "distill", "nuscenes", "v1.0-mini")
    for module in ("trainables.distill", "sweeps.loss_weights"):
        arguments = map(json.dumps, (["torch", "ray", "mlflow"], module, ["--data.train", folder]))
        ((answer,), heavy) = printed(COMMAND, *arguments)
        assert answer[0] == 1 and f"python -m {module} nuscenes --data.train" in answer[2] and heavy == []


def test_a_folder_without_a_manifest_is_left_to_the_training(tmp_path: Path) -> None:
    require_suited("frame", [None, str(tmp_path)], {"nuscenes": ("nuscenes",)}, None, "python", [])


def test_the_command_that_makes_shards_again_changes_what_is_asked_for_alone() -> None:
    manifest = Manifest("frame", FRAME.schema_version, "d", "1", "train", {}, 1, 1, (), (), "")
    made = replace(
        manifest,
        command="python -m datasets.shard nuscenes --root '/a b' --lidar-sweeps 0 --out x/y --split train",
    )
    assert made.again({"lidar_sweeps": 2}) == (
        "python -m datasets.shard nuscenes --root '/a b' --split train --lidar_sweeps 2 --out x/y-lidar_sweeps_2"
    )
    assert made.again({"image_size": "4 8"}).endswith(
        "--split train --image_size 4 8 --out x/y-image_size_4x8"
    )
    assert replace(manifest, command="python -c 'make()'").again({"superpixels": 9}) == (
        "python -c 'make()', with --superpixels 9"
    )
