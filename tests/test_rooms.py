"""The picture of the library's rooms in the documents is that of the code."""

from benchmarks import rooms


def test_the_picture_is_the_current_one():
    assert rooms.PICTURE.read_text() == rooms.svg(rooms.arrows()), "run: make rooms"


def test_only_arrows_that_follow_from_others_are_left_out():
    found = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert rooms.reduced(found) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
    assert rooms.reduced({"a": {"b", "c"}, "b": set(), "c": set()})["a"] == {"b", "c"}
