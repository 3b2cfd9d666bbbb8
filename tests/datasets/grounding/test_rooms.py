"""Protects the way from ScanNet's files to rooms: synthetic rooms, written and read back, and broken files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.grounding.classes import CLASSES, ClassMap
from datasets.grounding.config import RoomOptions
from datasets.grounding.features import pooled
from datasets.grounding.instances import read_scene
from datasets.grounding.proposals import read_detector
from datasets.grounding.source import Grounding
from datasets.synthetic_rooms.config import PRESETS, RoomsConfig
from datasets.synthetic_rooms.grammar import Saying, describe, meant, sayings, sentence
from datasets.synthetic_rooms.room import HALF, build, gap, stream
from datasets.synthetic_rooms.write import generate
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.geometry.boxes3d import iou
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.config import VoxelConfig
from scenelift.samples.room import UNNAMED
from scenelift.samples.vocabulary import Vocabulary

OPTIONS = RoomOptions(points=200)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> RoomsConfig:
    config = replace(PRESETS["tiny"], out=tmp_path_factory.mktemp("rooms") / "world")
    generate(config)
    return config


@pytest.fixture
def broken(world: RoomsConfig, tmp_path: Path) -> Path:
    """A copy of one room, to be broken."""
    root = tmp_path / "broken"
    for path in world.out.rglob("*scene0000_00*"):
        if path.is_file():
            target = root / path.relative_to(world.out)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for name in ("scannetv2-labels.combined.tsv", "ScanRefer_filtered_train.json"):
        (root / name).write_bytes((world.out / name).read_bytes())
    return root


def first(root: Path, **changes):
    source = Grounding(root, **changes)
    return source.read(source.list_samples("train")[0], OPTIONS)


def test_objects_come_back_where_they_were_built(world: RoomsConfig) -> None:
    classes = ClassMap.read(world.out / "scannetv2-labels.combined.tsv")
    for name in world.splits()["val"]:
        scene, things = read_scene(world.out, name, classes), build(world.seed, name)
        assert scene.names == tuple(thing.name for thing in things)
        np.testing.assert_allclose(scene.boxes, [thing.box for thing in things], atol=1e-4)
        assert scene.numbers.tolist() == [thing.number for thing in things]
        own = scene.points[scene.vertex_object == 2]
        assert (np.abs(own - scene.boxes[2, :3]) <= scene.boxes[2, 3:] / 2 + 1e-4).all()


def test_things_stand_in_the_room_and_not_in_each_other() -> None:
    for number in range(20):
        things = build(3, f"room-{number}")
        boxes = np.array([thing.box for thing in things])
        assert (np.abs(boxes[:, :2]) + boxes[:, 3:5] / 2 <= HALF + 1e-9).all() and len(things) >= 6
        overlap = iou(boxes[:, None], boxes)
        np.fill_diagonal(overlap, 0)
        assert overlap.max() == 0
        names = [thing.name for thing in things]
        assert any(names.count(name) > 1 for name in names) or number


def test_a_sentence_is_true_of_one_thing_alone() -> None:
    for number in range(10):
        things = build(5, f"room-{number}")
        for thing in things:
            for saying in sayings(things, thing):
                assert meant(things, thing, saying) == [thing]
        both = [(a, b) for a in things for b in things if a.number < b.number and a.name == b.name]
        for a, b in both:
            plain = Saying(color=a.color == b.color and a.large == b.large, size=False)
            if plain.color:
                assert plain not in sayings(things, a)


def test_most_sentences_are_about_things_that_have_their_like() -> None:
    alike, said = [], []
    for number in range(30):
        things = build(1, f"room-{number}")
        names = [thing.name for thing in things]
        for thing, text in describe(things, 12, stream(1, f"room-{number}")):
            alike.append(names.count(thing.name) > 1)
            said.append(text)
            assert thing.name in text
    assert 0.6 < np.mean(alike) < 0.9 and len(set(said)) > 200


def test_rooms_depend_on_their_seed_and_name_alone() -> None:
    one, other = build(0, "scene0001_00"), build(0, "scene0001_00")
    assert [thing.name for thing in one] == [thing.name for thing in other]
    np.testing.assert_array_equal([thing.box for thing in one], [thing.box for thing in other])
    assert [t.color for t in build(1, "scene0001_00")] != [t.color for t in one]
    assert gap(one[0], one[0]) == 0
    rng = (stream(0, "x"), stream(0, "x"))
    assert sentence(one[0], Saying(True, False), rng[0]) == sentence(one[0], Saying(True, False), rng[1])


def test_rooms_are_read_with_their_sentences_and_proposals(world: RoomsConfig) -> None:
    source = Grounding(world.out)
    keys = source.list_samples("val")
    assert {key.scene for key in keys} == set(world.splits()["val"])
    assert source.protocol == "scanrefer, detected boxes"
    for key in keys:
        room = source.read(key, OPTIONS)
        things = {thing.number: thing for thing in build(world.seed, key.scene)}
        assert len(room.points) == 200 and room.features.shape[1] == world.detector.features
        assert (room.instances == UNNAMED).all() and not room.objectness.all()
        for said in room.sentences:
            thing = things[said.target]
            np.testing.assert_allclose(said.box, thing.box, atol=1e-4)
            assert said.category == said.noun and said.hard is None
            assert said.tokens[said.head] == thing.name.split()[-1]
            if thing.color in said.tokens:
                assert said.keywords[said.tokens.index(thing.color)]


def test_a_detector_sees_what_is_there(world: RoomsConfig) -> None:
    source, best, named = Grounding(world.out), [], []
    for key in source.list_samples("train"):
        room = source.read(key, OPTIONS)
        overlap = iou(room.boxes[:, None], room.objects)
        best += overlap[room.objectness].max(0).tolist()
        close = overlap.max(1) > 0.5
        names = [room.names[i] for i in overlap.argmax(1)[close]]
        wanted = np.array([source.class_map.category(name) for name in names])
        named += (room.class_logits[close].argmax(1) == wanted).tolist()
    assert np.mean(np.array(best) >= 0.4) > 0.9 and np.mean(named) > 0.8


def test_true_instances_are_their_own_proposals(world: RoomsConfig) -> None:
    room = first(world.out, candidates="instances")
    np.testing.assert_array_equal(room.boxes, room.objects)
    assert room.instances.tolist() == list(range(len(room.objects))) and room.objectness.all()
    said = [CLASSES[i] for i in room.class_logits.argmax(1)]
    assert said[room.names.index("door")] == "door"
    things = build(world.seed, room.scene)
    light, dark = ([i for i, thing in enumerate(things) if thing.color == c] for c in ("white", "black"))
    for i in light:
        for j in dark:
            assert room.features[i, :3].sum() > room.features[j, :3].sum() + 1, "mean colors of the cloud"


def test_pooling_is_a_mean_over_the_vertices_inside(world: RoomsConfig) -> None:
    classes = ClassMap.read(world.out / "scannetv2-labels.combined.tsv")
    scene = read_scene(world.out, "scene0000_00", classes)
    proposals = read_detector(world.out, "scene0000_00", scene)
    found = pooled(scene.points, scene, proposals)
    for row, box in zip(found, proposals.boxes, strict=True):
        inside = (np.abs(scene.points - box[:3]) <= box[3:] / 2).all(1)
        wanted = scene.points[inside].mean(0) if inside.any() else np.zeros(3)
        np.testing.assert_allclose(row, wanted, atol=1e-3)


def test_features_can_be_those_of_our_own_3d_student(world: RoomsConfig, tmp_path: Path) -> None:
    """Segmentation and grounding meet: any student that sees colors gives proposals its features."""
    classes = ("chair", "sofa", "wall")
    vocabulary = Vocabulary("three", classes, tuple((name,) for name in classes), ((0, 0, 0),) * 3)
    config = StudentConfig(VoxelConfig(0.4), NetworkConfig(8, (8,), (8,)))
    torch.manual_seed(0)
    Student(config, 3, torch.zeros(3, 0), vocabulary, {"classifier": 3}).save(tmp_path)
    detected, true = (first(world.out, student=tmp_path, candidates=c) for c in ("detector", "instances"))
    assert detected.features.shape == (len(detected.boxes), 8)
    np.testing.assert_array_equal(detected.class_logits, first(world.out).class_logits)
    assert np.ptp(true.features, 0).max() > 0 and true.class_logits.shape == (len(true.boxes), 18)
    assert np.abs(true.class_logits).max() < 5, "what the student says, not the truth"
    Student(config, 1, torch.zeros(3, 0), vocabulary, {"classifier": 3}).save(tmp_path / "other")
    with pytest.raises(DataError, match="takes 1 features per point"):
        first(world.out, student=tmp_path / "other")


def test_detectors_of_other_makes_say_the_same(broken: Path) -> None:
    classes = ClassMap.read(broken / "scannetv2-labels.combined.tsv")
    scene = read_scene(broken, "scene0000_00", classes)
    masks = np.stack([scene.vertex_object == i for i in range(len(scene.boxes))])
    np.savez(
        broken / "proposals/scene0000_00.npz",
        masks=masks,
        classes=np.arange(len(masks)) % 18,
        scores=np.full(len(masks), 0.8),
        objectness_logits=np.stack([np.zeros(len(masks)), np.arange(len(masks)) - 1.5], 1),
    )
    found = read_detector(broken, "scene0000_00", scene)
    np.testing.assert_allclose(found.boxes, scene.boxes, atol=1e-5)
    assert found.class_logits.argmax(1).tolist() == list(np.arange(len(masks)) % 18)
    assert found.objectness.tolist() == [i > 1 for i in range(len(masks))] and not found.features.size
    assert first(broken).features.shape[1] == 10, "the cloud's own, where the detector has none"
    path = broken / "proposals/scene0000_00.npz"
    logits = np.eye(len(masks), 3, dtype=np.float32) + 1
    np.savez(path, masks=masks, class_logits=logits, class_names=np.array(["sofa", "night_stand", "desk"]))
    found = read_detector(broken, "scene0000_00", scene)
    assert found.objectness.all(), "Mask3D's are all objects"
    assert [CLASSES[i] for i in found.class_logits[:3].argmax(1)] == ["sofa", "others", "desk"]


def test_broken_detections_are_named(broken: Path) -> None:
    path = broken / "proposals/scene0000_00.npz"
    with np.load(path) as file:
        good = dict(file)
    count, scored = len(good["boxes"]), {"class_logits": None, "classes": np.zeros(len(good["boxes"]), int)}
    for changes, message in (
        ({**scored, "scores": np.ones(1)}, "classes and scores are"),
        ({**scored, "scores": np.ones(count + 1)}, "classes and scores are"),
        ({"objectness": None, "objectness_logits": np.zeros((count, 3))}, "objectness_logits are"),
        ({"objectness": None, "objectness_logits": np.full(count, np.nan)}, "objectness_logits are"),
        ({"objectness": None}, "neither objectness nor"),
        ({"class_names": np.array(["bed", "dresser"])}, "for 2 class_names"),
        ({"class_logits": good["class_logits"][:-1]}, "class_logits is .* to match the boxes"),
        ({"features": good["features"][1:]}, "features is"),
        ({"objectness": good["objectness"][:3]}, "objectness is"),
        ({"objectness": np.full(len(good["boxes"]), 0.3)}, "objectness is 0 or 1"),
        ({"boxes": good["boxes"][:, :5]}, "boxes is"),
        ({"boxes": np.full_like(good["boxes"], np.nan)}, "not finite"),
        ({"boxes": good["boxes"] * np.float32([1, 1, 1, 0, 1, 1])}, "without size"),
        ({key: value[:0] for key, value in good.items()}, "proposes nothing"),
        ({"class_logits": None}, "neither class_logits nor classes"),
        ({"boxes": None}, "none of the arrays boxes"),
    ):
        arrays = {key: value for key, value in {**good, **changes}.items() if value is not None}
        np.savez(path, **arrays)
        with pytest.raises(FrameError, match=message):
            first(broken)
    path.write_bytes(b"no zip")
    with pytest.raises(FrameError, match="not an npz file"):
        first(broken)
    path.unlink()
    with pytest.raises(FrameError, match="run a detector"):
        first(broken)


def test_broken_scans_are_named(broken: Path) -> None:
    folder = broken / "scans/scene0000_00"
    segments = folder / "scene0000_00_vh_clean_2.0.010000.segs.json"
    groups = folder / "scene0000_00.aggregation.json"
    for path, text, message in (
        (segments, '{"segIndices": [1, 2]}', "2 segment numbers for"),
        (segments, "{}", "not JSON with segIndices"),
        (groups, '{"segGroups": [{"objectId": 1}]}', "not a ScanNet aggregation"),
        (groups, '{"segGroups": []}', "no instances to choose from"),
        (folder / "scene0000_00.txt", "axisAlignment = 1 2 3\n", "not 16 numbers"),
    ):
        before = path.read_bytes()
        path.write_text(text)
        with pytest.raises(FrameError, match=message):
            first(broken, candidates="instances")
        path.write_bytes(before)
    assert first(broken).sentences


def test_a_target_that_the_scan_does_not_have_stays_without_a_box(broken: Path) -> None:
    path = broken / "ScanRefer_filtered_train.json"
    rows = json.loads(path.read_text())[:3]
    path.write_text(json.dumps([{**row, "object_id": "99"} for row in rows]))
    assert all(np.isnan(said.box).all() for said in first(broken).sentences)


def test_unknown_names_wrong_roots_and_splits_are_said(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = broken / "ScanRefer_filtered_train.json"
    rows = [{**json.loads(path.read_text())[0], "object_name": "zeppelin"}]
    path.write_text(json.dumps([*rows, {**rows[0], "scene_id": "scene9999_00"}]))
    room = first(broken)
    assert CLASSES[room.sentences[0].category] == "others"
    said = capsys.readouterr().err
    assert "zeppelin" in said and "1 of 2 scenes are not in" in said
    with pytest.raises(DataError, match="--root is the ScanNet folder"):
        Grounding(tmp_path / "nowhere")
    with pytest.raises(DataError, match="a file for each split"):
        Grounding(broken).list_samples(None)
    with pytest.raises(DataError, match=r"no .*ScanRefer_filtered_test"):
        Grounding(broken).list_samples("test")


def test_other_rooms_are_not_overwritten(world: RoomsConfig) -> None:
    assert generate(world) is None
    with pytest.raises(ConfigError, match="holds other rooms"):
        generate(replace(world, seed=1))
