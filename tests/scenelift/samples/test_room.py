"""Protects rooms on their way through a row, and what shards say of their words."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scenelift.samples.room import ROOM
from scenelift.shards.rows import to_samples
from scenelift.shards.write import encode
from tests.made.rooms import made_up_room


class Source:
    protocol = "made up, detected boxes"
    classes = ("chair", "table")


def assert_same(one, other):
    """Equal in every field, arrays and sentences too."""
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if field.name == "sentences":
            for said, again in zip(left, right, strict=True):
                assert_same(said, again)
        else:
            np.testing.assert_array_equal(left, right)
            assert not isinstance(left, np.ndarray) or left.dtype == right.dtype


def test_rooms_come_back_from_their_shard_as_they_were():
    rooms = [made_up_room("room-1"), made_up_room("room-2", objects=3, sentences=1, instances=True)]
    nothing = np.zeros((0, 3), np.float32)
    rooms.append(dataclasses.replace(rooms[0], points=nothing, colors=nothing.astype(np.uint8)))
    table = pq.read_table(pa.BufferReader(encode(ROOM, rooms, {})))
    for room, again in zip(rooms, to_samples(table, ROOM), strict=True):
        assert_same(room, again)


def test_a_target_without_a_box_stays_without_one():
    room = made_up_room("room-1")
    lost = dataclasses.replace(room.sentences[0], box=np.full(6, np.nan, np.float32), hard=None)
    again = ROOM.from_row(ROOM.to_row(dataclasses.replace(room, sentences=(lost,))))
    assert np.isnan(again.sentences[0].box).all() and again.sentences[0].hard is None


def test_words_of_all_shards_are_counted_together():
    rooms = [made_up_room(f"room-{number}") for number in range(6)]
    parts = [ROOM.summarize(rooms[:2], Source()), ROOM.summarize(rooms[2:], Source())]
    about = ROOM.describe(parts, Source(), None)
    assert about["words"] == ROOM.describe([ROOM.summarize(rooms, Source())], Source(), None)["words"]
    assert list(about["words"].values()) == sorted(about["words"].values(), reverse=True)
    assert about["sentences"] == sum(len(room.sentences) for room in rooms) and about["missing"] == 0
    assert about["features"] == 5 and about["classes"] == ["chair", "table"]
