"""Rooms and images with the boxes that a student finds for a sentence."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scenelift.geometry.boxes3d import corners
from scenelift.viewer.boxes.explorer import BEST, TRUE, BoxExplorer, best, edges, picture, room_boxes
from scenelift.viewer.page import write
from tests.made.captions import made_up_image
from tests.made.rooms import made_up_room

ROOM, IMAGE = made_up_room("room-1"), made_up_image()


class Longest:
    """Scores boxes by the length of the sentence and their index; the last one is never chosen."""

    scale = "for tests"

    def __call__(self, sample: Any, sentence: str) -> np.ndarray:
        scores = np.arange(len(sample.boxes), dtype=np.float32) / len(sentence)
        scores[-1] = -np.inf
        return scores


def explorer(*samples: Any) -> BoxExplorer:
    kept: Any = SimpleNamespace(tokens=[each.token for each in samples], read=samples.__getitem__)
    return BoxExplorer(kept, {"student": Longest()})


@pytest.mark.parametrize("sample", [ROOM, IMAGE], ids=["room", "image"])
def test_the_best_boxes_are_found_for_any_sentence(sample: Any, tmp_path: Path) -> None:
    boxes = explorer(sample)
    own = boxes.sentences(0)
    assert len(own) == len(set(own)) > 0
    found = boxes.find(sample, "abcd", 2)["student"]
    last = len(sample.boxes) - 1
    assert [choice.box for choice in found] == [last - 1, last - 2] and found[0].score == (last - 1) / 4
    assert boxes.find(sample, "  ") == {"student": []}
    write(boxes.page(0, own[0]), tmp_path / "page.html")
    assert own[0] in (tmp_path / "page.html").read_text()


def test_boxes_that_are_never_chosen_are_left_out() -> None:
    assert best(np.full(3, -np.inf, np.float32), 2) == []


def test_the_true_box_is_drawn_for_sentences_of_the_data() -> None:
    sentence = ROOM.sentences[0]
    drawn = room_boxes(ROOM, sentence.text, best(Longest()(ROOM, "a"), 2))
    assert drawn[0][2] == BEST and drawn[-1][2] == TRUE
    assert np.array_equal(drawn[-1][0], sentence.box)
    assert all(color != TRUE for *_, color in room_boxes(ROOM, "anything", []))
    shown = picture(IMAGE, IMAGE.phrases[0].text, best(Longest()(IMAGE, "a"), 2))
    assert shown.shape[1] == 900 and (shown == BEST).all(2).any() and (shown == TRUE).all(2).any()


def test_the_edges_of_a_box_join_neighbouring_corners() -> None:
    box = np.array([1, 2, 3, 4, 6, 8], np.float32)
    lengths = np.linalg.norm(np.diff(edges(box), axis=1)[:, 0], axis=1)
    assert sorted(lengths.tolist()) == [4.0] * 4 + [6.0] * 4 + [8.0] * 4
    assert np.array_equal(edges(box).reshape(-1, 3).max(0), corners(box).max(0))
