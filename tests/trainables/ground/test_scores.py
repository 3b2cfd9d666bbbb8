"""Protects scores of grounding: hand-made rooms, both protocols, odd rooms, the same numbers a second time."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from scenelift.errors import DataError
from scenelift.train.method import Progress
from tests.made.rooms import CLASSES, COLORS, FEATURES, made_up_room
from trainables.ground.batch import CollateRooms
from trainables.ground.config import GroundLoss, MethodConfig, NetworkConfig
from trainables.ground.lexicon import Lexicon
from trainables.ground.losses import class_weights
from trainables.ground.method import Grounding, Reading, coarse
from trainables.ground.model import Grounder
from trainables.ground.scores import NONE, Guess, guess, right, score, shares, subsets
from trainables.ground.task import RoomMeasure

WORDS = ("the", ".", *COLORS, *CLASSES)


def grounder(**method) -> Grounder:
    torch.manual_seed(0)
    lexicon = Lexicon(WORDS, torch.randn(2 + len(WORDS), 12))
    network = NetworkConfig(width=16, heads=2, decoder_layers=1, relation_layers=1)
    return Grounder(network, MethodConfig(**method), lexicon, FEATURES, CLASSES)


def answer(student, teacher, coarse=None) -> Guess:
    teacher = np.array(teacher)
    return Guess(np.array(student), teacher, np.zeros(len(teacher), np.float32), np.array(coarse or teacher))


def test_shares_of_a_hand_made_answer():
    good = np.array([False, True, True, False, False])
    objects = np.array([True, True, False, True, True])
    found = shares(answer([3, 1, 0], [1, 0, 3, 4], [0, 3, 4, 1]), good, objects)
    assert found["student"] == 0 and found["student_top3"] == 1
    assert found["teacher"] == 1 and found["coarse"] == 0 and found["coarse_top3"] == 0
    assert found["upper"] == 1 and found["ceiling"] == 1
    assert found["random"] == pytest.approx(1 / 4)
    assert found["random_top3"] == pytest.approx(1 - math.comb(3, 3) / math.comb(4, 3))


def test_the_authors_rows_are_over_all_proposals():
    """Against many draws, as their code draws: an index of all proposals, and three of them for R@3."""
    rng = np.random.default_rng(0)
    good, objects = rng.random(256) < 0.1, rng.random(256) < 0.5
    found = shares(answer([0], [0]), good, objects)
    draws = good[rng.integers(256, size=(200_000, 3))]
    assert found["eval_rand"] == pytest.approx(draws[:, 0].mean(), abs=0.005)
    assert found["eval_rand_top3"] == pytest.approx(draws.any(1).mean(), abs=0.005)
    background = shares(answer([0], [0]), ~objects, objects)
    assert background["use_best"] == 1 and background["ceiling"] == background["random"] == 0


def test_nobody_answers_in_a_room_without_objects():
    found = shares(answer([NONE], [NONE, NONE]), np.array([True, True]), np.array([False, False]))
    assert {who for who, share in found.items() if share} == {"eval_rand", "eval_rand_top3", "use_best"}


def test_right_answers_of_both_protocols():
    room = made_up_room("room-1", instances=True)
    sentence = room.sentences[0]
    moved = dataclasses.replace(room, boxes=room.boxes + np.array([0.4, 0, 0, 0, 0, 0], np.float32))
    detected = right(moved, sentence, "detected")
    assert np.flatnonzero(detected["acc25"]).tolist() == [sentence.target]  # IoU 0.6 / 1.4
    assert not detected["acc50"].any()
    assert np.flatnonzero(right(moved, sentence, "instances")["accuracy"]).tolist() == [sentence.target]
    lost = dataclasses.replace(sentence, box=np.full(6, np.nan, np.float32), target=99)
    assert not right(room, lost, "detected")["acc25"].any()
    assert not right(room, lost, "instances")["accuracy"].any()


def test_subsets_of_a_sentence():
    room = made_up_room("room-1")
    sentence = dataclasses.replace(room.sentences[0], unique=False, hard=True, view_dependent=False)
    (target,) = np.flatnonzero((room.objects == sentence.box).all(1))
    names = [f"thing {number}" for number in range(len(room.names))]
    room = dataclasses.replace(room, names=tuple(names))
    assert subsets(room, sentence) == ["overall", "multiple", "hard", "view_independent"]
    names[target - 1] = names[target]
    twins = dataclasses.replace(room, names=tuple(names))
    assert subsets(twins, dataclasses.replace(sentence, hard=None)) == [
        "overall", "multiple", "view_independent", "twins",
    ]  # fmt: skip


def test_scoring_twice_gives_the_same_numbers_and_leaves_the_mode():
    made = grounder().train()
    rooms = [made_up_room(f"room-{number}", objects=4 + number % 5) for number in range(9)]
    first, second = (score(made, rooms, "detected", batch=4) for _ in range(2))
    timed = ("inference/",)
    numbers = [
        {name: value for name, value in found.metrics().items() if not name.startswith(timed)}
        for found in (first, second)
    ]
    assert numbers[0] == numbers[1] and made.training
    assert first.counts["overall"] == 27 and first.table() == second.table()


def test_answers_do_not_depend_on_the_other_rooms_of_a_batch():
    made = grounder()
    rooms = [made_up_room(f"room-{number}", objects=3 + 2 * number) for number in range(4)]
    collate = CollateRooms(WORDS)
    together = guess(made, collate(rooms))
    alone = [found for room in rooms for found in guess(made, collate([room]))]
    for one, other in zip(together, alone, strict=True):
        assert one.student[0] == other.student[0]
        np.testing.assert_array_equal(one.teacher[one.teacher != NONE], other.teacher[other.teacher != NONE])
        np.testing.assert_allclose(one.losses[np.isfinite(one.losses)], other.losses, rtol=1e-4)


def test_what_is_no_object_is_never_answered():
    made = grounder()
    room = made_up_room("room-1", objects=8)
    objects = np.arange(8) % 3 == 0
    for background in (True, False):
        batch = CollateRooms(WORDS, background)([dataclasses.replace(room, objectness=objects)])
        for found in guess(made, batch):
            for order in (found.student, found.teacher, found.coarse):
                assert objects[order[order != NONE]].all()
            assert sorted(found.teacher[found.teacher != NONE]) == [0, 3, 6]


def test_odd_rooms_are_counted_and_said():
    made = grounder()
    empty = dataclasses.replace(made_up_room("room-1"), objectness=np.zeros(5, bool))
    foreign = made_up_room("room-2", sentences=1)
    foreign = dataclasses.replace(
        foreign,
        sentences=(dataclasses.replace(foreign.sentences[0], tokens=("le", "fauteuil", "rouge", "!")),),
    )
    lost = made_up_room("room-3", sentences=1)
    lost = dataclasses.replace(
        lost, sentences=(dataclasses.replace(lost.sentences[0], box=np.full(6, np.nan, np.float32)),)
    )
    found = score(made, [empty, foreign, lost], "detected")
    counts = [
        sum(getattr(each, name) for each in found.sentences) for name in ("empty", "unknown", "missing")
    ]
    assert counts == [3, 1, 1]
    assert found.sums["ceiling", "acc25", "overall"] == 1
    said = found.remarks()
    assert [text.split()[0] for text in said] == ["1", "3", "1"]
    for text, part in zip(said, ("guesses", "have no answer", "count as missed"), strict=True):
        assert part in text


@pytest.mark.parametrize("protocol", ["detected", "instances"])
def test_rooms_whose_targets_are_all_missing_have_no_score(protocol):
    """Boxes and sentences of different scenes gave 0 for every guesser, which reads like a bad student."""
    room = made_up_room("room-1")
    far = [
        dataclasses.replace(each, target=9, box=np.array([99, 99, 99, 1, 1, 1], np.float32))
        for each in room.sentences
    ]
    made, lost = grounder(), dataclasses.replace(room, sentences=tuple(far))
    for rooms in ([lost], [dataclasses.replace(room, objectness=np.zeros(5, bool))], []):
        with pytest.raises(DataError, match=f"none of {3 * len(rooms)} sentences means an object"):
            score(made, rooms, protocol).metrics()
        measure = RoomMeasure(protocol)
        with pytest.raises(DataError, match=r"hold out others \(--validation.holdout_every\)"):
            measure.metrics(measure.count(made, rooms))


@pytest.mark.parametrize(
    ("method", "same"),
    [
        ({"distill": False}, ("student", "coarse")),
        ({"reconstruct": False}, ("teacher", "coarse")),
        ({"candidates": 1}, ("teacher", "coarse")),
    ],
)
def test_a_part_that_is_switched_off_answers_as_the_coarse_stage(method, same):
    found = guess(grounder(**method), CollateRooms(WORDS)([made_up_room("room-1")]))
    for one in found:
        assert getattr(one, same[0])[0] == getattr(one, same[1])[0]


def test_inference_is_timed_where_there_is_a_student():
    rooms = [made_up_room("room-1")]
    both, alone = (score(grounder(distill=distill), rooms, "detected") for distill in (True, False))
    assert both.metrics()["inference/student_seconds"] > 0 and "times as long" in both.timing()
    assert "inference/student_seconds" not in alone.metrics() and "the coarse stage answers" in alone.timing()


def test_the_coarse_stage_adds_up_what_is_switched_on():
    """`no_text` and `no_mil` of ws3dvg.md 11 leave the other's term alone."""
    room = made_up_room("room-1", objects=7)
    found = []
    for method in ({}, {"mil": "off"}, {"category": "off"}):
        made = grounder(**method).eval()
        batch = CollateRooms.of(WORDS, made.method)([room])
        proposals, read = made.look(batch), Reading.of(made, batch)
        found.append(coarse(made, batch, proposals, read))
    both, classes, features = found
    torch.testing.assert_close(both, classes + features)
    torch.testing.assert_close(features.sum(1), torch.full((3,), 0.5))
    present = torch.ones(3, 7, dtype=torch.bool)
    said = made.category(read.complete)
    torch.testing.assert_close(classes, class_weights(said, batch.class_logits.expand(3, -1, -1), present))


def test_a_batch_of_one_room_with_one_thing_is_trained_on():
    """Batch norms have no statistics of a single row."""
    made = grounder()
    training = Grounding(made, GroundLoss()).train()
    batch = CollateRooms(WORDS)([made_up_room("room-1", objects=1, sentences=1)])
    found = training(batch, Progress(0, 0, 1))
    assert all(torch.isfinite(loss) for loss in found.values())
    assert int(made.relation.batch_norm.num_batches_tracked) == 0


def test_synchronized_batch_norms_take_the_place_of_plain_ones():
    """As they do on several GPUs."""
    made = torch.nn.SyncBatchNorm.convert_sync_batchnorm(grounder())
    batch = CollateRooms(WORDS)([made_up_room("room-1")])
    found = Grounding(made, GroundLoss()).train()(batch, Progress(0, 0, 1))
    assert all(torch.isfinite(loss) for loss in found.values())


def test_losses_are_float32_in_half_precision_too():
    training = Grounding(grounder(), GroundLoss()).train()
    batch = CollateRooms(WORDS)([made_up_room("room-1"), made_up_room("room-2", objects=7)])
    with torch.autocast("cpu", torch.bfloat16):
        found = training(batch, Progress(0, 5, 10))
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in found.values())


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"mil": "off"},
        {"mil": "margin"},
        {"category": "off"},
        {"category": "noun"},
        {"reconstruct": False},
        {"distill": False},
        {"category": "off", "reconstruct": False, "distill": False},
        {"mil": "off", "reconstruct": False, "distill": False},
        {"background": False, "mask_keywords": True, "mask_noun": True},
    ],
)
def test_every_switch_gives_finite_losses_and_a_gradient_to_all_that_is_trained(method):
    made = grounder(**method)
    training = Grounding(made, GroundLoss()).train()
    rooms = [made_up_room(f"room-{number}", objects=3 + number) for number in range(3)]
    rooms.append(dataclasses.replace(made_up_room("room-9"), objectness=np.zeros(5, bool)))
    found = training(CollateRooms.of(WORDS, made.method)(rooms), Progress(0, 5, 10))
    assert found.keys() == training.weights.keys()
    total = torch.stack([training.weights[name] * loss for name, loss in found.items()]).sum()
    assert torch.isfinite(total)
    total.backward()
    for name, parameter in made.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
