"""A trained student labels any cloud, in the points' order, and says in a sentence what it cannot label."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import scenelift
from scenelift.errors import ConfigError, DataError, SceneliftError, TeacherError
from scenelift.inference import labeler as labelling
from scenelift.inference.labeler import Labeler
from scenelift.inference.tiles import tiles
from scenelift.samples.frame import Frame
from tests.made.students import speaking_student, taught_student


@pytest.fixture(scope="module")
def labeler() -> Labeler:
    return Labeler(speaking_student())


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    """[N, 4] float32: x, y, z, and a feature."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(0, 12, (900, 3)), rng.uniform(0, 3, (900, 1))], 1).astype(np.float32)


def test_a_cloud_gets_the_labels_that_its_frame_gets(labeler, cloud):
    frame = Frame.of_cloud("one", np.ascontiguousarray(cloud[:, :3]), np.ascontiguousarray(cloud[:, 3:]))
    want = labeler.student.predict(frame)
    labels = labeler.predict(cloud)
    assert np.array_equal(labels.ids, want) and len(set(want.tolist())) == 3, "each class is said"
    assert labels.names.tolist() == [labeler.classes[i - 1] for i in want]


@pytest.mark.parametrize(
    "given",
    [
        lambda c: (c.astype(np.float64), None),
        lambda c: (c[:, :3], c[:, 3]),
        lambda c: (np.asfortranarray(c[:, :3]), c[:, 3:].tolist()),
        lambda c: (torch.from_numpy(c), None),
        lambda c: (torch.from_numpy(c[:, :3]).double().requires_grad_(), torch.from_numpy(c[:, 3]).double()),
        lambda c: (c.tolist(), None),
    ],
)
def test_the_form_of_numbers_does_not_matter(labeler, cloud, given):
    points, features = given(cloud)
    assert np.array_equal(labeler.predict(points, features).ids, labeler.predict(cloud).ids)


def test_half_precision_is_read(labeler, cloud):
    for half in (cloud.astype(np.float16), torch.from_numpy(cloud).bfloat16()):
        rounded = torch.as_tensor(half).float().numpy()
        assert np.array_equal(labeler.predict(half).ids, labeler.predict(rounded).ids)


def test_many_clouds_get_what_each_gets_alone(labeler, cloud):
    parts = [cloud[:100], cloud[100:101], cloud[:0], cloud[200:]]
    labels = labeler.predict(parts)
    assert [len(each) for each in labels] == [100, 1, 0, 700]
    for part, each in zip(parts, labels, strict=True):
        assert np.array_equal(each.ids, labeler.predict(part).ids)


def test_confidence_is_the_share_in_a_softmax_at_the_training_temperature(labeler, cloud):
    labels = labeler.predict(cloud, extras=["scores", "features"])
    logits = labels.features @ labeler.student.text.numpy().T / labeler.student.temperature
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(labels.scores, shares, atol=1e-5)
    np.testing.assert_allclose(labels.confidence, shares.max(1), atol=1e-5)
    assert not labeler.predict(cloud, threshold=1.0).ids.any()
    assert ((labeler.predict(cloud, threshold=0.6).ids > 0) == (labels.confidence >= 0.6)).all()


def test_points_that_are_not_finite_are_counted_and_get_no_label(labeler, cloud):
    holed = cloud.copy()
    holed[[3, 7], [0, 2]] = np.nan, np.inf
    with pytest.warns(UserWarning, match="2 of 900 points are not finite"):
        labels = labeler.predict(holed)
    kept = np.delete(np.arange(900), [3, 7])
    assert np.array_equal(labels.ids[kept], labeler.predict(cloud[kept]).ids)
    assert not labels.ids[[3, 7]].any() and not labels.confidence[[3, 7]].any()


def test_coordinates_of_a_map_are_moved_by_whole_voxels(labeler, cloud):
    """Also by as much as makes float32 lose the millimetres."""
    exact = np.round(cloud.astype(np.float64) * 64) / 64
    far = exact + np.array([500_000, 5_400_000, 0, 0])
    assert np.array_equal(labeler.predict(far).ids, labeler.predict(exact).ids)


def test_a_large_cloud_gets_labels_tile_by_tile(labeler, cloud, monkeypatch):
    """Those of a tile are what it gets with the margin around it, as a cloud of its own."""
    monkeypatch.setattr(labelling, "MOST_POINTS", 100)
    monkeypatch.setattr(labelling, "MARGIN_VOXELS", 5)
    tiled, seen = labeler.predict(cloud), np.zeros(900, int)
    monkeypatch.undo()
    for inner, whole in tiles(np.ascontiguousarray(cloud[:, :3]), 100, 5.0):
        seen[whole[inner]] += 1
        assert np.array_equal(tiled.ids[whole[inner]], labeler.predict(cloud[whole]).ids[inner])
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("points", "features", "message"),
    [
        (np.zeros((5, 3)), None, "0 features a point, and the student wants 1.*zeros will do"),
        (np.zeros((5, 6)), None, r"3 features a point, .* points \[N, 4\]"),
        (np.zeros((5, 3)), np.zeros((4, 1)), "5 points and features of 4"),
        (np.zeros(5), None, r"shape \[5\]; give \[N, 3\]"),
        (np.zeros((5, 2)), None, r"give \[N, 3\]"),
        ("a.bin", None, "type <U5; give an array of numbers"),
        (np.array([[0, 0, 0, np.nan]]), None, "features that are not finite"),
        (np.array([[0, 0, 0, 1], [1e9, 0, 0, 1]]), None, "m across.*give metres"),
        ([[0, 0, 0, 1], [1, 2]], None, "rows of different lengths"),
        ([np.zeros((2, 4))], [np.zeros((2, 1))] * 2, "1 clouds, and features of 2"),
    ],
)
def test_what_is_not_a_cloud_is_said_in_a_sentence(labeler, points, features, message):
    with pytest.raises(DataError, match=message):
        labeler.predict(points, features)


def test_features_of_another_scale_are_refused(cloud):
    student = speaking_student()
    student.reach.fill_(255.0)
    with pytest.raises(DataError, match="trained on features up to 255"):
        Labeler(student).predict(cloud)


def test_own_words_that_are_its_classes_are_its_labels(labeler, cloud):
    own = dict(zip(labeler.classes, labeler.vocabulary.words, strict=True))
    assert np.array_equal(labeler.predict(cloud, classes=own).ids, labeler.predict(cloud).ids)


def test_a_word_is_told_from_the_other_classes(labeler, cloud):
    """`background="own"`: a point gets the word where the student would say it among all of its classes."""
    labels = labeler.predict(cloud, classes=["road"])
    assert labels.classes == ("road",)
    assert np.array_equal(labels.ids == 1, labeler.predict(cloud).names == "road")
    assert labeler.predict(cloud, classes=["road"], background=None).ids.all(), "nothing else is possible"
    among = labeler.predict(cloud, classes=["road"], background=["car"])
    assert np.array_equal(
        among.ids > 0, labeler.predict(cloud, classes=["road", "car"], background=None).ids == 1
    )


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"classes": "car"}, ConfigError, r"classes=\['car'\]"),
        ({"classes": []}, ConfigError, "one or more words"),
        ({"classes": ["car", "car"]}, ConfigError, "each once"),
        ({"classes": [""]}, ConfigError, "each once"),
        ({"classes": {"car": [3]}}, ConfigError, "where a word belongs"),
        ({"classes": ["car"], "background": "tree"}, ConfigError, r"\['tree'\]"),
        ({"classes": ["zebra"]}, TeacherError, "does not know zebra"),
        ({"extras": ["colours"]}, ConfigError, "colours is not one of features, scores"),
    ],
)
def test_words_that_cannot_be_asked(labeler, cloud, how, error, message):
    with pytest.raises(error, match=message):
        labeler.predict(cloud, **how)


def test_a_student_that_knows_no_words_says_so(cloud):
    taught = Labeler(taught_student())
    assert not taught.speaks and taught.predict(cloud, extras=["features"]).features.shape == (900, 8)
    with pytest.raises(ConfigError, match="trained on labels"):
        taught.predict(cloud, classes=["car"])


def test_the_weights_of_another_teacher_are_refused(cloud):
    student = speaking_student()
    student.text.copy_(student.text.roll(1, 0))
    with pytest.raises(TeacherError, match="not the weights"):
        Labeler(student).predict(cloud, classes=["car"])


@pytest.mark.parametrize("inner", ["", "student", "student/student.json"])
def test_a_student_is_found_where_people_point_to(tmp_path, cloud, inner):
    speaking_student().save(tmp_path / "run" / "student")
    place = tmp_path / "run" / inner
    found = scenelift.load(place, device="cpu")
    assert np.array_equal(found.predict(cloud).ids, Labeler(speaking_student()).predict(cloud).ids)
    assert np.array_equal(
        found.predict(cloud, classes=["road"]).ids > 0, found.predict(cloud).names == "road"
    )


def test_places_without_a_student(tmp_path):
    with pytest.raises(ConfigError, match="there is no"):
        scenelift.load(tmp_path / "nothing")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError, match="no student yet"):
        scenelift.load(tmp_path)
    speaking_student().save(tmp_path / "student")
    description = json.loads((tmp_path / "student" / "student.json").read_text())
    (tmp_path / "student" / "student.json").write_text(json.dumps(description | {"schema_version": 99}))
    with pytest.raises(SceneliftError, match="schema version 99"):
        scenelift.load(tmp_path)
    with pytest.raises(ConfigError, match="there is no GPU"):
        scenelift.load(tmp_path, device="cuda")
