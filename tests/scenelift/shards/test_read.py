"""Protects folders of shards as they are read: what is damaged is refused, and the order is the one asked for."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from scenelift.errors import DataError, ShardError
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.frame import FRAME, Frame, FrameKind
from scenelift.samples.kind import Kind, Manifest
from scenelift.samples.room import ROOM
from scenelift.shards import read
from scenelift.shards.read import Shards, open_samples
from scenelift.shards.write import write_shards
from scenelift.train.plan import epoch_order
from tests.made.frames import CLASSES, OPTIONS, MadeUp, made_up_frame
from tests.scenelift.samples.test_frame import assert_same

FRAMES = 45


@pytest.fixture(scope="module")
def folder(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "train"
    write_shards(MadeUp(FRAMES), "train", str(out), OPTIONS, per_shard=8, command="made up", progress=False)
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def tokens(batch: list[Frame], number: int) -> tuple[int, list[str]]:
    return number, [frame.token for frame in batch]


@pytest.mark.parametrize("frame_count", [1, 7, 1000])
def test_epoch_order_is_a_permutation_of_seed_and_epoch(frame_count: int) -> None:
    order = epoch_order(frame_count, 3, 5)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(frame_count))
    np.testing.assert_array_equal(order, epoch_order(frame_count, 3, 5))


def test_epoch_orders_differ_between_epochs_and_seeds() -> None:
    orders = {epoch_order(100, seed, epoch).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_manifest_round_trip(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    assert Manifest.from_json(text, "x", FRAME).to_json() == text
    assert pickle.loads(pickle.dumps(Shards.open(str(folder)))) == Shards.open(str(folder))


def test_frames_come_back_as_the_source_read_them(folder: Path) -> None:
    opened = Shards.open(str(folder), CLASSES)
    assert len(opened) == FRAMES and opened.vocabulary == MadeUp.vocabulary
    assert opened.tokens == tuple(f"frame-{number:05d}" for number in range(FRAMES))
    assert opened.scenes == tuple(f"scene-{number % 10}" for number in range(FRAMES))
    wanted = [44, 0, 7, 8, 8, 31]
    for number, frame in zip(wanted, opened.read_many(wanted), strict=True):
        assert_same(frame, made_up_frame(f"frame-{number:05d}"))
    assert_same(opened.read(9), made_up_frame("frame-00009"))
    assert opened.read_many([]) == []


def test_uri_and_path_are_the_same_shards(folder: Path) -> None:
    assert Shards.open(folder.as_uri()).read(20).token == "frame-00020"


def test_other_schema_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = FRAME.schema_version
    monkeypatch.setattr(FrameKind, "schema_version", now + 1)
    with pytest.raises(ShardError, match=rf"schema version {now}, this code reads {now + 1}.*made up"):
        Shards.open(str(folder))


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (("car", "tree"), "it has road"),
        (("car", "tree", "road", "van"), "it lacks van"),
        (("tree", "car", "road"), "another order"),
    ],
)
def test_other_class_list_is_refused(folder: Path, classes: tuple[str, ...], says: str) -> None:
    with pytest.raises(ShardError, match=says):
        Shards.open(str(folder), classes)


def test_truncated_and_missing_shards_are_named(copy: Path) -> None:
    shard = copy / "shard-00003.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(
        ShardError, match=rf"shard-00003.parquet has {len(whole) - 10} bytes, not {len(whole)}"
    ):
        Shards.open(str(copy))
    shard.unlink()
    with pytest.raises(ShardError, match=r"lacks shard-00003.parquet.*made up"):
        Shards.open(str(copy))


def test_damage_inside_a_shard_is_met_when_it_is_read(copy: Path) -> None:
    shard = copy / "shard-00003.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:2000] + bytes(8000) + whole[10000:])
    opened = Shards.open(str(copy))
    with pytest.raises(ShardError, match=r"shard-00003.parquet"):
        opened.read_many(range(24, 32))
    with pytest.raises(ShardError, match=r"shard-00003.parquet") as caught:
        list(opened.stream(range(FRAMES), tokens, 4))
    assert len(str(caught.value).splitlines()) == 1
    assert opened.read(0).token == "frame-00000"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.write_text("{"), "not a manifest"),
        (lambda path: path.write_text("[1]"), "not a manifest"),
        (lambda path: path.write_text(json.dumps({"schema_version": FRAME.schema_version})), "damaged"),
        (lambda path: path.unlink(), "interrupted"),
        (lambda path: [file.unlink() for file in path.parent.iterdir()], "has no shards"),
    ],
)
def test_folders_without_a_good_manifest_are_refused(copy: Path, change: object, says: str) -> None:
    change(copy / "manifest.json")  # type: ignore[operator]
    with pytest.raises(ShardError, match=says):
        Shards.open(str(copy))


@pytest.mark.parametrize(
    ("kind", "module"),
    [(FRAME, "datasets.shard"), (ROOM, "datasets.shard_rooms"), (CAPTIONED_IMAGE, "datasets.shard_captions")],
)
def test_an_empty_folder_advises_the_command_of_its_kind(
    tmp_path: Path, kind: Kind[Any], module: str
) -> None:
    with pytest.raises(ShardError) as caught:
        open_samples(str(tmp_path), kind)
    assert f": python -m {module} " in str(caught.value)
    assert str(caught.value).endswith(f" --out {tmp_path}")


def test_manifest_of_a_later_field_is_refused_as_damaged(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"weather": "rain"}))
    with pytest.raises(ShardError, match="weather"):
        Shards.open(str(copy))


@pytest.mark.ray
@pytest.mark.parametrize(("batch_size", "prefetch"), [(1, 2), (4, 0), (4, 1), (7, 4), (64, 2)])
def test_stream_keeps_order_and_batches(
    folder: Path, batch_size: int, prefetch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the batch size, the prefetching, the blocks and the segments, of which there are several here."""
    opened = Shards.open(str(folder))
    monkeypatch.setattr(read, "_SEGMENT_BYTES", 100 * opened.manifest.bytes // FRAMES)
    order = np.concatenate([epoch_order(FRAMES, 0, epoch) for epoch in range(3)])[:-1]
    expected = [
        (number, [f"frame-{index:05d}" for index in order[start : start + batch_size]])
        for number, start in enumerate(range(0, len(order), batch_size))
    ]
    assert list(opened.stream(order, tokens, batch_size, prefetch)) == expected


@pytest.mark.ray
def test_stream_of_nothing_is_empty(folder: Path) -> None:
    assert list(Shards.open(str(folder)).stream([], tokens, 4)) == []


@pytest.mark.ray
def test_mistakes_in_collate_arrive_as_they_are(folder: Path) -> None:
    def collate(batch: list[Frame], number: int) -> int:
        if number == 2:
            raise DataError("too few sweeps")
        return number

    stream = Shards.open(str(folder)).stream(range(FRAMES), collate, 4)
    with pytest.raises(DataError, match="too few sweeps"):
        list(stream)


class Trainer:
    """What a training worker does with a stream; two of them, and reading, share four logical CPUs."""

    def epochs(self, folder: str, seed: int) -> list[str]:
        order = np.concatenate([epoch_order(FRAMES, seed, epoch) for epoch in range(4)])
        batches = list(Shards.open(folder).stream(order, tokens, 8))
        return [token for _, batch in batches for token in batch]


@pytest.mark.ray
def test_two_workers_stream_at_once(folder: Path) -> None:
    trainers = [ray.remote(num_cpus=1)(Trainer).remote() for _ in range(2)]
    got = ray.get(
        [trainer.epochs.remote(str(folder), seed) for seed, trainer in enumerate(trainers)], timeout=180
    )
    for seed, tokens_of_worker in enumerate(got):
        order = np.concatenate([epoch_order(FRAMES, seed, epoch) for epoch in range(4)])
        assert tokens_of_worker == [f"frame-{index:05d}" for index in order]
    for trainer in trainers:
        ray.kill(trainer)


@pytest.mark.ray
@pytest.mark.parametrize("indices", [None, [3, 44, 3]])
def test_dataset_has_a_row_for_every_frame(folder: Path, indices: list[int] | None) -> None:
    rows = Shards.open(str(folder)).dataset(indices).take_all()
    assert sorted(row["index"] for row in rows) == sorted(indices or range(FRAMES))
    for row in rows:
        assert_same(FRAME.from_row(row), made_up_frame(f"frame-{row['index']:05d}"))


@pytest.mark.ray
def test_shards_made_again_under_the_same_name_are_not_read_through_old_footers(copy: Path) -> None:
    before = Shards.open(str(copy))
    assert before.read(0).token == "frame-00000"
    shutil.rmtree(copy)
    other = dataclasses.replace(MadeUp(3), version="v1")
    options = dataclasses.replace(OPTIONS, image_size=(4, 4))
    write_shards(other, None, str(copy), options, command="", progress=False)
    assert os.listdir(copy) != [] and Shards.open(str(copy)).read(0).image_size == (4, 4)
