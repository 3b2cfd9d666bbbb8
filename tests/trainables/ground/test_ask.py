"""A grounder asked about any sentence answers as when it is scored."""

from __future__ import annotations

import numpy as np
import pytest

from scenelift.errors import DataError
from tests.made.rooms import made_up_room
from tests.trainables.ground.test_scores import grounder
from trainables.ground.ask import RoomGrounder
from trainables.ground.batch import CollateRooms
from trainables.ground.scores import guess


@pytest.mark.parametrize("distill", [True, False])
def test_its_first_choice_is_that_of_the_scores(distill: bool) -> None:
    student = grounder(distill=distill).eval()
    room, ask = made_up_room("room-3"), RoomGrounder(student)
    answers = guess(student, CollateRooms.of(student.words, student.method)([room]))
    for sentence, answer in zip(room.sentences, answers, strict=True):
        scores = ask(room, sentence.text)
        assert scores.shape == (len(room.boxes),) and scores.sum() == pytest.approx(1)
        assert scores.argmax() == (answer.student if distill else answer.coarse)[0]


def test_any_sentence_may_be_asked_of_objects_alone() -> None:
    room = made_up_room("room-3")
    room.objectness[1] = False
    scores = RoomGrounder(grounder().eval())(room, "a Red thing, the chair!")
    assert scores[1] == -np.inf and np.isfinite(np.delete(scores, 1)).all()


def test_unknown_words_and_other_detectors_are_said() -> None:
    ask = RoomGrounder(grounder().eval())
    with pytest.raises(DataError, match=r"knows no word of 'zebra\.'; it knows, for instance, blue"):
        ask(made_up_room("room-3"), "zebra.")
    room = made_up_room("room-3")
    object.__setattr__(room, "features", room.features[:, :3])
    with pytest.raises(DataError, match="features of 3 channels, the student reads 5"):
        ask(room, "the chair")
