"""What the viewer shows of a scan: colors, comparisons, words, and what is known of a point."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from scenelift.errors import DataError, TeacherError
from scenelift.samples.config import ReadOptions
from scenelift.samples.images import decode
from scenelift.samples.vocabulary import Vocabulary
from scenelift.viewer.answers import Answers
from scenelift.viewer.colors import GLOW, GREY, RIGHT, VIRIDIS, WRONG, by_value, limits
from scenelift.viewer.explorer import Explorer
from scenelift.viewer.scans.view import View
from tests.made.frames import VOCABULARY, made_up_frame
from tests.scenelift.viewer.conftest import SIZE, MadeUpScans
from trainables.common.scoring import TeacherPredictor

TOKEN = "frame-00002"
FRAME = made_up_frame(TOKEN, ReadOptions(image_size=SIZE, lidar_sweeps=1), 300)


@pytest.fixture
def view(explorer: Explorer) -> View:
    return explorer.view(2)


def test_a_view_is_the_keyframe_with_the_pixels_of_its_points(view: View) -> None:
    key = FRAME.keyframe
    assert np.array_equal(view.points, FRAME.points[key]) and np.array_equal(view.truth, FRAME.labels[key])
    points, pixels = view.pairs
    shown = key[FRAME.pair_points]
    assert len(points) == shown.sum() > 0
    assert np.array_equal(view.points[points], FRAME.points[FRAME.pair_points[shown]])
    assert np.array_equal(pixels, FRAME.pair_pixels[shown])


def test_labels_are_those_of_the_student_and_of_the_teacher_that_evaluate_scores(
    explorer: Explorer, view: View
) -> None:
    student = explorer.answers.students["student"].student
    assert np.array_equal(explorer.labels(view, "student"), student.predict(FRAME))
    assert explorer.answers.teacher is not None
    taught = TeacherPredictor(explorer.answers.teacher).predict(FRAME)
    assert np.array_equal(explorer.labels(view, "teacher"), taught)


def test_every_coloring_has_a_color_for_each_point(explorer: Explorer, view: View) -> None:
    names = explorer.colorings(view)
    assert names[0] == "student" and {"truth", "teacher", "error", "disagreement", "photo", "words"} <= {
        *names
    }
    for name in names:
        coloring = explorer.coloring(view, name, words="car")
        assert coloring.colors.shape == view.points.shape and coloring.colors.dtype == np.uint8, name
        assert coloring.legend, name
    bare = View.of_frame(dataclasses.replace(FRAME, labels=None))
    assert not {"truth", "error"} & {*explorer.colorings(bare)}
    assert Explorer(MadeUpScans(), Answers({})).colorings(bare) == [
        "photo",
        "intensity",
        "height",
        "distance",
    ]


def test_errors_and_disagreement_are_red_where_labels_differ(explorer: Explorer, view: View) -> None:
    truth, said = view.truth, explorer.labels(view, "student")
    assert truth is not None
    colors = explorer.coloring(view, "error").colors
    red = (colors == WRONG).all(1)
    assert np.array_equal(red, (truth > 0) & (truth != said))
    assert ((colors == GREY).all(1) == (truth == 0)).all() and (colors == RIGHT).all(1).any()
    assert explorer.compared(view) == ("student", "against")
    other = explorer.labels(view, "against")
    red = (explorer.coloring(view, "disagreement").colors == WRONG).all(1)
    assert np.array_equal(red, other != said)
    alone = Explorer(
        MadeUpScans(), Answers({"student": explorer.answers.students["student"]}, explorer.answers.teacher)
    )
    both, apart = alone.apart(view)
    taught = alone.labels(view, "teacher")
    assert np.array_equal(both, taught > 0) and np.array_equal(apart, (taught > 0) & (taught != said))


def test_points_take_the_color_of_their_pixel(explorer: Explorer, view: View) -> None:
    points, pixels = view.pairs
    colors = explorer.coloring(view, "photo").colors
    number, (photo, row, column) = int(points[-1]), pixels[-1].tolist()
    assert np.array_equal(colors[number], decode(FRAME.images[photo])[row, column])
    unseen = np.setdiff1d(np.arange(len(view.points)), points)
    assert (colors[unseen] == GREY).all()


def test_words_color_by_the_cosine_with_the_text(explorer: Explorer, view: View) -> None:
    labeler = explorer.answers.students["student"]
    near = explorer.answers.similarity("student", view, "car")
    features = labeler.predict(
        FRAME.points[FRAME.keyframe], FRAME.features[FRAME.keyframe], extras=["features"]
    )
    expected = torch.nn.functional.cosine_similarity(
        torch.from_numpy(features.features), labeler.text(["car"]), dim=1
    )
    assert near == pytest.approx(expected.numpy(), abs=1e-5)
    colors = explorer.coloring(view, "words", words="car").colors
    assert tuple(colors[near.argmax()]) == GLOW[-1] and tuple(colors[near.argmin()]) == GLOW[0]
    assert (explorer.coloring(view, "words", words=" ").colors == GREY).all()
    with pytest.raises(TeacherError, match="does not know zebra"):
        explorer.coloring(view, "words", words="zebra")


def test_a_second_word_encodes_text_alone(
    explorer: Explorer, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer.coloring(view, "words", words="car")
    labeler = explorer.answers.students["student"]
    monkeypatch.setattr(labeler, "label_frame", lambda *_: pytest.fail("the cloud is read again"))
    explorer.coloring(view, "words", words="tree")


def test_a_point_tells_its_pixels_scores_and_labels(explorer: Explorer, view: View) -> None:
    number = int(view.pairs[0][0])
    point = explorer.point(view, number)
    assert list(point.labels) == ["truth", "teacher", "student", "against"]
    said = int(explorer.labels(view, "student")[number])
    assert point.labels["student"] == VOCABULARY.classes[said - 1]
    assert len(point.seen) == (view.pairs[0] == number).sum()
    seen = point.seen[0]
    assert seen.crop.shape == (256, 256, 3) and len(seen.scores) == 3
    assert [score for _, score in seen.scores] == sorted((score for _, score in seen.scores), reverse=True)
    if len(point.seen) == 1:
        assert seen.scores[0][0] == point.labels["teacher"]
    unseen = int(np.setdiff1d(np.arange(len(view.points)), view.pairs[0])[0])
    assert explorer.point(view, unseen).seen == () and explorer.point(view, unseen).labels["teacher"] == "-"


def test_students_and_scans_of_other_classes_are_not_mixed(explorer: Explorer) -> None:
    other = MadeUpScans(vocabulary=Vocabulary("other", ("sky",), (("sky",),), ((1, 2, 3),)))
    with pytest.raises(
        DataError, match=r"student knows car, tree, road; made-up has sky\. Show them one at a time"
    ):
        Explorer(other, explorer.answers)


def test_values_become_colors_from_dark_to_bright() -> None:
    coloring = by_value(np.array([-1.0, 0, 5, 10, 99, np.nan]), 0, 10)
    first, zero, _, ten, last, unknown = coloring.colors.tolist()
    assert first == zero == list(VIRIDIS[0]) and ten == last == list(VIRIDIS[-1]) and unknown == list(GREY)
    assert limits(np.array([np.nan])) == (0.0, 1.0)


def test_an_empty_cloud_is_shown(explorer: Explorer) -> None:
    none = np.zeros((0, 3), np.float32)
    frame = dataclasses.replace(
        FRAME,
        points=none,
        features=np.zeros((0, 1), np.float32),
        sweep=np.zeros(0, np.uint8),
        labels=np.zeros(0, np.uint8),
        pair_points=np.zeros(0, np.int32),
        pair_pixels=np.zeros((0, 3), np.int16),
        token="empty",
    )
    view = View.of_frame(frame)
    for name in explorer.colorings(view):
        assert len(explorer.coloring(view, name).colors) == 0
    assert view.extent > 0
