"""Protects which sentences become samples, by lists, contexts and groups, and what is said of the others."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.grounding.config import RoomOptions
from datasets.grounding.source import Grounding
from datasets.synthetic_rooms.config import PRESETS, RoomsConfig
from datasets.synthetic_rooms.write import generate
from scenelift.errors import ConfigError, DataError

OPTIONS = RoomOptions(points=200)


@pytest.fixture
def world(tmp_path: Path) -> RoomsConfig:
    config = replace(PRESETS["tiny"], out=tmp_path / "world", train=2, val=1)
    generate(config)
    return config


@pytest.fixture
def root(world: RoomsConfig) -> Path:
    return world.out


def scanrefer(root: Path, *told: tuple[int, str, str]) -> None:
    """Sentences (object, its name, text) about the first room."""
    keys = ("object_id", "object_name", "description")
    rows = [
        {
            "scene_id": "scene0000_00",
            "ann_id": str(i),
            **dict(zip(keys, (str(one[0]), *one[1:]), strict=True)),
        }
        for i, one in enumerate(told)
    ]
    (root / "ScanRefer_filtered_train.json").write_text(json.dumps(rows))


def test_unique_is_what_no_other_annotated_object_is_like(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Annotated objects count, each once however often it is described, and by class, not by name (10.2)."""
    text = "it is here ."
    scanrefer(
        root,
        (1, "chair", text),
        (2, "armchair", text),
        (3, "table", text),
        (3, "table", text),
        (4, "lamp", ""),
    )
    table = root / "scannetv2-labels.combined.tsv"
    table.write_text(table.read_text() + "99\tarmchair\tchair\t5\tchair\n")
    (key,) = Grounding(root).list_samples("train")
    unique = {one.object: one_is for one, one_is in zip(key.annotations, key.unique, strict=True)}
    assert unique == {1: False, 2: False, 3: True} and len(key.annotations) == 4
    assert "1 sentences without a word are left out" in capsys.readouterr().err
    scanrefer(root, (1, "chair", text), (3, "table", text))
    assert Grounding(root).list_samples("train")[0].unique == (True, True), (
        "what nobody describes does not count"
    )


def test_every_sentence_is_in_one_part_of_its_room(world: RoomsConfig) -> None:
    """The last group of a scene, which the authors' validation leaves out (13.1, 3), too."""
    rows = json.loads((world.out / "ScanRefer_filtered_train.json").read_text())
    keys = Grounding(world.out, group=4).list_samples("train")
    told = [(key.scene, one.text) for key in keys for one in key.annotations]
    assert sorted(told) == sorted((row["scene_id"], row["description"]) for row in rows)
    assert {len(key.annotations) for key in keys} == {2, 4}, "six sentences a room"


def test_nr3d_over_a_room(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Splits by lists, bad contexts, hardness, listeners' sentences: on the way from a CSV to rooms."""
    head = "stimulus_id,scan_id,target_id,instance_type,utterance,tokens,mentions_target_class"
    lines = [
        "scene0000_00-chair-3-1-2-3,scene0000_00,1,chair,the chair on the left,\"['the', 'chair', 'left']\",True",
        "scene0000_00-chair-2-1-2,scene0000_00,1,chair,that,\"['that']\",False",
        "scene0000_00-chair-2-2-1,scene0000_00,2,chair,wrong,\"['wrong']\",True",
        "scene0009_00-chair-2-1-2,scene0009_00,1,chair,elsewhere,\"['elsewhere']\",True",
    ]
    (root / "nr3d.csv").write_text("\n".join([head, *lines]) + "\n")
    (root / "test_scans.txt").write_text('["scene0009_00"]')
    with pytest.raises(DataError, match="unknown split other: none of nr3d_other_scans"):
        Grounding(root, "nr3d").list_samples("other")
    source = Grounding(root, "nr3d", "instances")
    assert len(source.list_samples("train")[0].annotations) == 3
    assert "no manually_inspected_bad_contexts.csv" in capsys.readouterr().err
    (root / "manually_inspected_bad_contexts.csv").write_text("stimulus_id\nscene0000_00-chair-2-2-1\n")
    said = {one.text: one for one in source.read(source.list_samples("train")[0], OPTIONS).sentences}
    left = said.pop("the chair on the left")
    assert left.hard and left.view_dependent and not said["that"].hard and len(said) == 1
    assert "1 sentences of bad contexts are left out" in capsys.readouterr().err
    with pytest.raises(DataError, match="none of the 1 scenes"):
        source.list_samples("test")
    listener = Grounding(root, "nr3d", "instances", listener=True)
    assert [one.text for one in listener.list_samples("train")[0].annotations] == [left.text]
    assert listener.protocol == "nr3d, true instances, listeners' sentences"
    with pytest.raises(ConfigError, match="leave --listener out"):
        Grounding(root, listener=True)
