"""Presets for real data fix what they learn from: no toy, and the papers' inputs where they bear a paper's name."""

from dataclasses import replace
from importlib import import_module

import pytest

from datasets.shard.config import PRESETS as SHARDS
from datasets.shard_rooms.config import PRESETS as ROOM_SHARDS
from scenelift.config.build import flatten
from scenelift.errors import ConfigError
from trainables.common.config import TINY_TEACHER
from trainables.common.training import student_name

TRAININGS = ("distill", "evaluate", "finetune", "ground", "phrases", "pretrain")
REAL = [
    (name, preset)
    for name in TRAININGS
    for preset in import_module(f"trainables.{name}.config").PRESETS
    if "synthetic" not in preset
]


def settings(name: str, preset: str) -> dict[str, object]:
    return flatten(import_module(f"trainables.{name}.config").PRESETS[preset])


@pytest.mark.parametrize(("name", "preset"), REAL)
def test_no_preset_for_real_data_holds_the_toys(name: str, preset: str) -> None:
    values = settings(name, preset)
    assert TINY_TEACHER.weights not in values.values()
    assert values.get("student.voxels.features") != "geometry"


@pytest.mark.parametrize("preset", ["paper", "scanrefer"])
def test_grounding_on_real_rooms_asks_for_word_vectors(preset: str) -> None:
    config = import_module("trainables.ground.config").PRESETS[preset]
    missing = replace(config, lexicon=replace(config.lexicon, glove=config.lexicon.glove.with_name("no.txt")))
    with pytest.raises(
        ConfigError, match=r"lexicon.glove: there is no .*no.txt; .*--lexicon.glove FILE \(glove"
    ):
        missing.check_here()
    assert config.lexicon.source == "glove.6B.300d.txt"
    tower = replace(config.lexicon, glove=None)
    assert tower.source == "ViT-B-16-quickgelu openai"


def test_rooms_of_all_three_corpora_are_scored_as_the_paper_scores_them() -> None:
    assert {preset.candidates for preset in ROOM_SHARDS.values()} == {"detector"}


def test_ppkt_and_slidr_read_what_their_code_reads() -> None:
    """The input of slidr_minkunet.yaml and ppkt_nuscenes.yaml (clip2scene.md 4.5)."""
    wanted = {
        "student.voxels.size": 0.1, "student.voxels.grid": "cylindrical", "student.voxels.features": "first",
        "student.voxels.feature_scale": 1.0, "augmentation.drop_cuboid": 0.2, "augmentation.rotate": True,
        "augmentation.flip": True, "augmentation.image.crop": True, "augmentation.image.flip": True,
        "augmentation.image.size": (224, 416), "loop.epochs": 50, "loop.batch": 4, "optimizer.lr": 0.5,
    }  # fmt: skip
    for preset in ("paper_ppkt", "paper_slidr"):
        assert wanted.items() <= settings("pretrain", preset).items()


def test_tables_name_the_grid_of_a_student() -> None:
    """SLidR's slower batch norms of fine-tuning do not make it another network."""
    for name, preset, wanted in (
        ("pretrain", "paper_slidr", "minkunet34c, 0.1 m cylindrical"),
        ("finetune", "paper_slidr", "minkunet34c, 0.1 m cylindrical"),
        ("finetune", "paper_nuscenes", "spvcnn, 0.1 m"),
    ):
        config = import_module(f"trainables.{name}.config").PRESETS[preset]
        assert student_name(flatten(config.student)) == wanted


def test_fine_tuning_reads_what_the_papers_read() -> None:
    slidr = {
        "student.voxels.grid": "cylindrical", "student.network.momentum": 0.02, "labels.level": "scene",
        "loop.batch": 16, "loop.epochs": 100, "optimizer.lr": 0.02, "optimizer.head_lr": 2.0,
    }  # fmt: skip
    assert slidr.items() <= settings("finetune", "paper_slidr").items()
    for preset, offset in (("paper_semantickitti", 1.0), ("paper_nuscenes", 0.0)):
        assert settings("finetune", preset)["student.voxels.feature_offset"] == offset
    assert settings("finetune", "paper_scannet")["augmentation.shears"] == 2
    assert SHARDS["scannet"].image_size == (480, 640)
