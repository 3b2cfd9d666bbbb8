"""Protects rooms as shards: written by Ray, read back, described, and refused where they are asked for wrongly."""

from dataclasses import replace
from pathlib import Path

import pytest

from datasets.grounding.config import RoomOptions
from datasets.grounding.source import Grounding
from datasets.shard_rooms.config import PRESETS, RoomShardConfig
from datasets.shard_rooms.run import run
from datasets.synthetic_rooms.config import PRESETS as ROOMS
from datasets.synthetic_rooms.shards import synthetic_room_shards
from scenelift.errors import ConfigError
from scenelift.samples.room import ROOM
from scenelift.shards.read import open_samples


@pytest.mark.ray
def test_synthetic_rooms_become_shards_at_first_use(ray_session: None, tmp_path: Path) -> None:
    rooms = replace(ROOMS["tiny"], out=tmp_path / "rooms")
    folder = synthetic_room_shards("val", rooms=rooms)
    shards, source = open_samples(folder, ROOM), Grounding(rooms.out)
    keys = source.list_samples("val")
    assert shards.tokens == tuple(key.token for key in keys)
    about = shards.manifest.about
    assert about["protocol"] == "scanrefer, detected boxes" and about["features"] == 64
    assert about["sentences"] == sum(len(key.annotations) for key in keys) and about["missing"] == 0
    assert shards.read(0).sentences[0].text == source.read(keys[0], RoomOptions()).sentences[0].text
    assert synthetic_room_shards("val", rooms=rooms) == folder, "the second time they are there"
    true = open_samples(synthetic_room_shards("val", "instances", rooms), ROOM)
    assert true.manifest.about["protocol"] == "scanrefer, true instances"


@pytest.mark.ray
def test_the_command_reports_what_it_wrote(
    ray_session: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rooms = replace(ROOMS["tiny"], out=tmp_path / "rooms")
    synthetic_room_shards("train", rooms=rooms)
    run(replace(PRESETS["scanrefer"], root=rooms.out, split="val", out=str(tmp_path / "out")))
    said = capsys.readouterr().out
    assert "scanrefer, detected boxes" in said and "64 channels" in said and "--data.test" in said


def test_what_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="--root is missing"):
        RoomShardConfig().check_here()
    for values, message in (
        ({"corpus": "nr3"}, "corpus: .nr3. is not one of scanrefer, nr3d, sr3d"),
        ({"candidates": "boxes"}, "candidates: .boxes. is not one of"),
        ({"group": 0}, "group must be at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            RoomShardConfig(**values)  # type: ignore[arg-type]
    assert RoomShardConfig(split="val").folder == "data/shards/scanrefer/detector/val"
