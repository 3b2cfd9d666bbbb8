"""Protects rooms on their way through a row, and what shards say of their words."""

import dataclasses

import numpy as np
import pyarrow as pa
from made_up_rooms import made_up_room

from scenelift.rooms import ROOM


class Source:
    protocol = "made up, detected boxes"
    classes = ("chair", "table")


def test_a_room_comes_back_from_its_row_as_it_was():
    room = made_up_room("room-1")
    table = pa.Table.from_pylist([ROOM.to_row(room)], ROOM.schema)
    again = ROOM.from_row(table.to_pylist()[0])
    for field in dataclasses.fields(room):
        one, other = getattr(room, field.name), getattr(again, field.name)
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    assert (again.token, again.scene, again.names) == (room.token, room.scene, room.names)
    for one, other in zip(room.sentences, again.sentences, strict=True):
        for field in dataclasses.fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_target_without_a_box_stays_without_one():
    room = made_up_room("room-1")
    lost = dataclasses.replace(room.sentences[0], box=np.full(6, np.nan, np.float32), hard=None)
    again = ROOM.from_row(ROOM.to_row(dataclasses.replace(room, sentences=(lost,))))
    assert np.isnan(again.sentences[0].box).all() and again.sentences[0].hard is None


def test_words_of_all_shards_are_counted_together():
    rooms = [made_up_room(f"room-{number}") for number in range(6)]
    parts = [ROOM.summarise(rooms[:2], Source()), ROOM.summarise(rooms[2:], Source())]
    about = ROOM.describe(parts, Source(), None)
    assert about["words"] == ROOM.describe([ROOM.summarise(rooms, Source())], Source(), None)["words"]
    assert list(about["words"].values()) == sorted(about["words"].values(), reverse=True)
    assert about["sentences"] == sum(len(room.sentences) for room in rooms) and about["missing"] == 0
    assert about["features"] == 5 and about["classes"] == ["chair", "table"]
