"""Protects what the nuScenes adapter reads: calibration chain, sweeps, labels, classes, splits."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from datasets.nuscenes.classes import CLASSES, IGNORED_CATEGORIES
from datasets.nuscenes.source import NuScenes
from datasets.nuscenes.splits import official
from scenelift.errors import ConfigError, DataError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, Frame
from tests.made.nuscenes_tree import CHANNELS, LABEL_OF, NATIVE, SIZE, VERSION, Tree, oracle


def _expect_pairs(root: Path, frame: Frame, size: tuple[int, int]) -> dict[str, int]:
    """The frame's pairs are the oracle's, camera by camera; how many they are."""
    counts = {}
    for view, channel in enumerate(frame.cameras):
        u, v, depth = oracle(root, frame.token, channel)
        seen = (depth > 1) & (u > 1) & (u < size[1] - 1) & (v > 1) & (v < size[0] - 1)
        mine = frame.pair_pixels[:, 0] == view
        assert frame.pair_points[mine].tolist() == np.flatnonzero(seen).tolist()
        assert frame.pair_pixels[mine, 1].tolist() == v[seen].round().tolist()
        assert frame.pair_pixels[mine, 2].tolist() == u[seen].round().tolist()
        counts[channel] = int(mine.sum())
    return counts


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_real_frame_has_the_pairs_and_labels_that_are_known(real_nuscenes: Path):
    source = NuScenes(real_nuscenes, VERSION)
    (keyframe,) = source.list_samples("mini_train")
    frame = source.read(keyframe, ReadOptions(image_size=(900, 1600)))
    assert (frame.scene, frame.timestamp, len(frame.points)) == ("scene-0061", 1532402927647951, 34688)
    assert _expect_pairs(real_nuscenes, frame, (900, 1600)) == {
        "CAM_FRONT": 3053,
        "CAM_FRONT_RIGHT": 3076,
        "CAM_BACK_RIGHT": 3369,
        "CAM_BACK": 4820,
        "CAM_BACK_LEFT": 4089,
        "CAM_FRONT_LEFT": 3696,
    }
    known = {"pedestrian": 109, "barrier": 289, "traffic_cone": 13, "bicycle": 1, "bus": 3, "car": 79}
    known |= {"construction_vehicle": 4, "truck": 486}
    counts = {
        name: int((frame.labels == label).sum()) for label, name in enumerate(source.vocabulary.classes, 1)
    }
    assert counts == dict.fromkeys(source.vocabulary.classes, 0) | known
    assert frame.images == tuple((real_nuscenes / name).read_bytes() for name in keyframe.images)


def test_the_real_frame_at_training_size_keeps_its_pairs(real_nuscenes: Path):
    source = NuScenes(real_nuscenes, VERSION)
    (keyframe,) = source.list_samples()
    full = source.read(keyframe, ReadOptions(image_size=(900, 1600)))
    small = source.read(keyframe, ReadOptions(lidar_sweeps=2))
    assert np.array_equal(small.pair_points[small.keyframe[small.pair_points]], full.pair_points)
    assert small.pair_pixels.max(0).tolist() == [5, 223, 415] and small.pair_pixels.min() == 0
    # no sweeps in this tree: the keyframe itself stands in, without the points on the car
    near = (np.abs(full.points[:, :2]) < 1).all(1)
    assert np.bincount(small.sweep).tolist() == [34688, (~near).sum(), (~near).sum()]


def test_pairs_are_those_of_the_chain_of_five_steps(tree: Tree):
    source = tree.source()
    for keyframe in source.list_samples():
        frame = source.read(keyframe, NATIVE)
        assert frame.cameras == CHANNELS[:2]
        counts = _expect_pairs(tree.root, frame, SIZE)
        assert min(counts.values()) > 5
        _, seen_by = np.unique(frame.pair_points, return_counts=True)
        assert (seen_by == 2).any(), "a point that both cameras see makes two pairs"


def test_points_features_and_labels_are_those_of_the_files(tree: Tree):
    source, keyframe = tree.source(), tree.first()
    frame = source.read(keyframe, NATIVE)
    raw = np.fromfile(tree.root / keyframe.points, "<f4").reshape(-1, 5)
    assert np.array_equal(frame.points, raw[:, :3]) and np.array_equal(frame.features, raw[:, 3:4])
    assert source.vocabulary.classes == ("car", "pedestrian", "vegetation")
    assert source.vocabulary.name == "nuscenes-3"
    assert frame.labels.tolist() == [LABEL_OF[value] for value in tree.raw]
    assert (frame.token, frame.scene, frame.timestamp) == ("scene-0103-0", "scene-0103", 2)


def test_keyframes_come_by_scene_in_table_order_then_by_time(tree: Tree):
    tree.rows["sample"].reverse()
    tree.rows["sample_data"].reverse()
    tree.rows["ego_pose"].reverse()
    tree.write()
    tokens = [keyframe.token for keyframe in tree.source().list_samples()]
    assert tokens == [f"{scene}-{step}" for scene in ("scene-0103", "scene-0061") for step in (0, 2, 4)]


def test_sweeps_lie_on_the_keyframe_where_the_world_stands_still(tree: Tree):
    """Sweep k is the world as the car saw it k records before; compensated, it is the keyframe's own world."""
    source = tree.source()
    keyframe = source.list_samples()[2]
    assert [name.split("-")[3] for name in keyframe.lidar_sweeps] == ["3", "2", "1", "0"]
    frame = source.read(keyframe, ReadOptions(4, SIZE))
    world = frame.points[frame.sweep == 0]
    assert len(np.unique(frame.features)) == 256
    for sweep in (1, 2, 3, 4):
        points = frame.points[frame.sweep == sweep]
        assert len(points) < 400
        distance = np.linalg.norm(points[:, None] - world[None], axis=-1).min(1)
        assert distance.max() < 1e-3
    assert (frame.labels[frame.sweep > 0] == 0).all()
    assert frame.pair_points.max() >= 400, "points of sweeps make pairs too"


def test_sweeps_lose_the_car_and_the_keyframe_keeps_it(tree: Tree):
    source = tree.source()
    keyframe = source.list_samples()[1]
    frame = source.read(keyframe, ReadOptions(1, SIZE))
    raw = np.fromfile(tree.root / keyframe.lidar_sweeps[0], "<f4").reshape(-1, 5)
    far = ~((np.abs(raw[:, 0]) < 1) & (np.abs(raw[:, 1]) < 1))
    assert not far.all() and (frame.sweep == 1).sum() == far.sum()
    assert frame.features[frame.sweep == 1, 0].tolist() == raw[far, 3].tolist()
    assert (frame.sweep == 0).sum() == 400


def test_the_start_of_a_scene_repeats_the_last_sweep_or_the_keyframe(tree: Tree):
    source = tree.source()
    start, second = source.list_samples()[:2]
    assert start.lidar_sweeps == () and len(second.lidar_sweeps) == 2
    frame = source.read(second, ReadOptions(4, SIZE))
    clouds = [frame.points[frame.sweep == sweep] for sweep in range(5)]
    assert np.array_equal(clouds[2], clouds[3]) and np.array_equal(clouds[2], clouds[4])
    assert not np.array_equal(clouds[1], clouds[2])
    frame = source.read(start, ReadOptions(2, SIZE))
    near = (np.abs(frame.points[:400, :2]) < 1).all(1)
    for sweep in (1, 2):
        assert np.array_equal(frame.points[frame.sweep == sweep], frame.points[:400][~near])


def test_more_sweeps_than_there_are_between_keyframes_is_a_mistake_of_the_configuration(tree: Tree):
    with pytest.raises(ConfigError, match="0 to 10 sweeps"):
        tree.source().read(tree.first(), ReadOptions(11, SIZE))


def test_keyframes_and_source_travel_to_other_processes(tree: Tree):
    source, keyframe = pickle.loads(pickle.dumps((tree.source(), tree.source().list_samples()[4])))
    here = tree.source().read(tree.source().list_samples()[4], ReadOptions(3, SIZE))
    assert FRAME.to_row(source.read(keyframe, ReadOptions(3, SIZE))) == FRAME.to_row(here)
    assert len(pickle.dumps(keyframe)) < 8000


def test_a_tree_without_lidarseg_has_all_classes_and_no_labels(tree: Tree):
    (tree.tables / "lidarseg.json").unlink()
    source = tree.source()
    assert source.vocabulary.classes == tuple(CLASSES)
    frame = source.read(tree.first(), NATIVE)
    assert frame.labels is None and len(frame.pair_points) > 10


def test_a_camera_that_a_sample_lacks_is_left_out(tree: Tree):
    tree.rows["sample_data"] = [
        row for row in tree.rows["sample_data"] if row["token"] != "scene-0103-0-0-CAM_FRONT"
    ]
    tree.write()
    frame = tree.source().read(tree.first(), NATIVE)
    assert frame.cameras == ("CAM_FRONT_LEFT",) and len(frame.images) == 1
    assert (frame.pair_pixels[:, 0] == 0).all()


# Classes and splits


def test_the_32_categories_make_the_16_classes_with_the_official_labels(real_nuscenes: Path):
    source = NuScenes(real_nuscenes, VERSION)
    assert source.vocabulary.name == "nuscenes-16" and source.vocabulary.classes == tuple(CLASSES)
    table = np.zeros(32, int)
    raw = {
        1: [9],
        2: [14],
        3: [15, 16],
        4: [17],
        5: [18],
        6: [21],
        7: [2, 3, 4, 6],
        8: [12],
        9: [22],
        10: [23],
    }
    raw |= {11: [24], 12: [25], 13: [26], 14: [27], 15: [28], 16: [30]}
    for label, values in raw.items():
        table[values] = label
    assert source._label_table[:32].tolist() == table.tolist()
    assert (source._label_table[32:] == 255).all()


def test_words_and_colors_tell_the_classes_apart():
    assert len({entry.color for entry in CLASSES.values()}) == 16
    assert sum(len(entry.categories) for entry in CLASSES.values()) + len(IGNORED_CATEGORIES) == 32
    words = [word for entry in CLASSES.values() for word in entry.words]
    assert len(set(words)) == len(words) and not any("_" in word for word in words)
    for name, entry in CLASSES.items():
        assert entry.words[0] == name.replace("_", " ") and len(entry.words) <= 4


def test_the_official_splits_have_their_sizes_and_the_holdout_is_taken_from_train():
    known = official()
    sizes = {
        "train": 700,
        "val": 150,
        "test": 150,
        "mini_train": 8,
        "mini_val": 2,
        "pretrain": 600,
        "holdout": 100,
    }
    assert {split: len(scenes) for split, scenes in known.items()} == sizes
    assert known["holdout"] < known["train"] and known["pretrain"] | known["holdout"] == known["train"]
    assert not known["pretrain"] & known["holdout"]
    assert not known["train"] & known["val"] and not known["test"] & (known["train"] | known["val"])
    assert known["mini_train"] | known["mini_val"] <= known["train"] | known["val"]


def test_a_split_gives_its_scenes_only(tree: Tree):
    scenes = {
        split: {k.scene for k in tree.source().list_samples(split)} for split in ("mini_val", "train", "val")
    }
    assert scenes == {"mini_val": {"scene-0103"}, "train": {"scene-0061"}, "val": {"scene-0103"}}


def test_a_tree_can_bring_its_own_splits(tree: Tree):
    own = {"mine": ["scene-0061", "scene-9999"], "empty": []}
    (tree.tables / "splits.json").write_text(json.dumps(own))
    assert len(tree.source().list_samples("mine")) == 3
    with pytest.raises(DataError, match=r"unknown split train; known: mine, empty; with scenes here: mine"):
        tree.source().list_samples("train")
    with pytest.raises(DataError, match=r"no scene of empty; with scenes here: mine \(1 scenes\)"):
        tree.source().list_samples("empty")
    for broken in ("[1]", "{", '{"a": "scene-0061"}', '{"a": [1]}'):
        (tree.tables / "splits.json").write_text(broken)
        with pytest.raises(DataError, match=r"splits\.json must be"):
            tree.source().list_samples("mine")
