"""Protects the SemanticKITTI adapter: calibration, poses, labels, splits, and what it says of mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.semantickitti.classes import CLASSES, IGNORED_LABELS
from datasets.semantickitti.source import SemanticKITTI
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from tests.made.kitti_tree import FRAMES, POINTS, RAW, SIZE, KittiTree, loop, png, read_calibration

NATIVE = ReadOptions(image_size=SIZE)


@pytest.fixture
def tree(tmp_path: Path) -> KittiTree:
    return KittiTree(tmp_path)


def triples(frame: Frame) -> list[tuple[int, ...]]:
    assert not frame.pair_pixels[:, 0].any()
    return list(zip(frame.pair_points.tolist(), *frame.pair_pixels[:, 1:].T.tolist(), strict=True))


def test_pairs_of_the_real_frame_are_those_of_a_loop(real_data: Path) -> None:
    root = real_data / "semantickitti"
    source = SemanticKITTI(root)
    (keyframe,) = source.list_samples("val")
    calibration = read_calibration(root / "sequences/08/calib.txt")
    for size in ((375, 1242), (160, 528)):
        frame = source.read(keyframe, ReadOptions(image_size=size))
        assert (frame.token, frame.labels, len(frame.points)) == ("08-000000", None, 17238)
        assert frame.features.min() >= 0 and frame.features.max() <= 1
        some = np.arange(0, 17238, 43)
        expected = loop(frame.points[some], calibration, (375, 1242), size)
        mine = [pair for pair in triples(frame) if pair[0] in set(some.tolist())]
        assert mine == [(int(some[index]), row, column) for index, row, column in expected]
        assert 380 < len(mine) < len(some), (
            "the file holds what the camera sees, and a few points at its border"
        )


@pytest.mark.parametrize("size", [SIZE, (16, 48)])
def test_pairs_of_all_points_and_sweeps_are_those_of_a_loop(tree: KittiTree, size: tuple[int, int]) -> None:
    calibration = read_calibration(tree.root / "sequences/00/calib.txt")
    source = tree.source()
    for keyframe in source.list_samples("train"):
        frame = source.read(keyframe, ReadOptions(1, size))
        assert triples(frame) == loop(frame.points, calibration, SIZE, size)
        assert 50 < len(frame.pair_points) < len(frame.points)


def test_the_shift_of_p2_matters_and_is_not_lost(tree: KittiTree) -> None:
    """Were its fourth column forgotten, points would be off by more than a pixel."""
    calibration = read_calibration(tree.root / "sequences/00/calib.txt")
    frame = tree.source().read(tree.source().list_samples("train")[0], NATIVE)
    calibration["P2"][:, 3] = 0
    assert triples(frame) != loop(frame.points, calibration, SIZE, SIZE)


def test_a_static_world_does_not_move_between_sweeps(tree: KittiTree) -> None:
    source = tree.source()
    for number, keyframe in enumerate(source.list_samples("train")):
        frame = source.read(keyframe, ReadOptions(3, SIZE))
        clouds = frame.points.reshape(4, POINTS, 3)
        assert np.abs(clouds - clouds[0]).max() < 1e-4
        assert frame.sweep.tolist() == np.repeat(range(4), POINTS).tolist()
        own = [np.array_equal(clouds[0], cloud) for cloud in clouds]
        assert own == [True, *[number == 0] * 3], "moved copies differ in the last digits; the first has none"


def test_sweeps_come_nearest_first_and_the_last_one_is_repeated(tree: KittiTree) -> None:
    """The remission tells the scans apart."""
    for number in range(FRAMES):
        path = tree.root / f"sequences/00/velodyne/{number:06d}.bin"
        cloud = np.fromfile(path, "<f4").reshape(-1, 4)
        cloud[:, 3] = number / 10
        cloud.tofile(path)
    source = tree.source()
    keyframes = source.list_samples("train")
    for number, expected in ((0, [0, 0, 0, 0]), (1, [1, 0, 0, 0]), (3, [3, 2, 1, 0])):
        frame = source.read(keyframes[number], ReadOptions(3, SIZE))
        found = [float(frame.features[frame.sweep == sweep].mean()) for sweep in range(4)]
        assert found == pytest.approx([scan / 10 for scan in expected])


def test_sweeps_stop_where_another_drive_begins(tree: KittiTree) -> None:
    """More than a second lies between them; poses would put the other drive's scans anywhere."""
    tree.edit("sequences/00/times.txt", "2.074000e-01", "1.1038")
    assert [len(keyframe.lidar_sweeps) for keyframe in tree.source().list_samples("train")] == [0, 1, 0, 0]
    tree.edit("sequences/00/times.txt", "1.1038", "1.1037")
    assert [len(keyframe.lidar_sweeps) for keyframe in tree.source().list_samples("train")] == [0, 1, 2, 0]


def test_labels_are_the_lower_half_and_sweeps_have_none(tree: KittiTree) -> None:
    source = tree.source()
    keyframe = source.list_samples("val")[2]
    frame = source.read(keyframe, ReadOptions(1, SIZE))
    raw = np.fromfile(tree.root / "sequences/08/labels/000002.label", "<u4")
    assert frame.labels is not None
    assert frame.labels[:POINTS].tolist() == [RAW[label % 65536] for label in raw.tolist()]
    assert not frame.labels[POINTS:].any() and len(frame.labels) == 2 * POINTS
    assert set(frame.labels.tolist()) == set(RAW.values())


def test_the_classes_are_those_of_the_benchmark() -> None:
    """As listed in clip2scene.md 2.1 and 6.3."""
    words = (
        "car, bicycle, motorcycle, truck, other vehicle, person, bicyclist, motorcyclist, road, parking, sidewalk, "
        "other ground, building, fence, vegetation, trunk, terrain, pole, traffic sign"
    )
    assert [entry.words[0] for entry in CLASSES.values()] == words.split(", ")
    raw = [label for entry in CLASSES.values() for label in entry.raw] + list(IGNORED_LABELS)
    assert len(raw) == len(set(raw)) == 34
    moving = {252: "car", 253: "bicyclist", 254: "person", 255: "motorcyclist", 258: "truck"}
    assert all(label in CLASSES[name].raw for label, name in moving.items())


def test_times_come_from_the_file_or_from_the_frame_numbers(tree: KittiTree) -> None:
    assert [frame.timestamp for frame in tree.source().list_samples("val")] == [0, 103700, 207400, 311100]
    (tree.root / "sequences/08/times.txt").unlink()
    (tree.root / "sequences/08/velodyne/000001.bin").unlink()
    assert [frame.timestamp for frame in tree.source().list_samples("val")] == [0, 200000, 300000]


def test_splits_are_sequences(tree: KittiTree) -> None:
    source = tree.source()
    tokens = [f"{sequence}-{number:06d}" for sequence in ("00", "08") for number in range(FRAMES)]
    assert [keyframe.token for keyframe in source.list_samples()] == tokens
    assert [keyframe.token for keyframe in source.list_samples("train")] == tokens[:FRAMES]
    with pytest.raises(DataError, match="unknown split vla; known: train, val, test"):
        source.list_samples("vla")
    with pytest.raises(DataError, match=r"no sequences of test \(11, .*, 21\); it has: 00, 08"):
        source.list_samples("test")


def test_points_alone_are_enough(tree: KittiTree) -> None:
    folder = tree.root / "sequences/08"
    for path in folder.iterdir():
        if path.name != "velodyne":
            path.rename(tree.root / path.name)
    source = tree.source()
    frame = source.read(source.list_samples("val")[1], NATIVE)
    assert (frame.labels, frame.images, len(frame.pair_points)) == (None, (), 0)
    with pytest.raises(DataError, match=r"sequence 08 has no poses.txt.*--lidar_sweeps 0"):
        source.read(source.list_samples("val")[1], ReadOptions(1, SIZE))


def test_a_tree_may_bring_its_own_words(tree: KittiTree) -> None:
    (tree.root / "prompts.json").write_text(json.dumps({"truck": ["lorry"]}))
    vocabulary, official = tree.source().vocabulary, KittiTree(tree.root / "other").source().vocabulary
    assert vocabulary.words[3] == ("lorry",) and vocabulary.words[4:] == official.words[4:]
    assert vocabulary.version != official.version and vocabulary.name == "semantickitti-19"


def test_impossible_sweeps_are_refused(tree: KittiTree) -> None:
    with pytest.raises(ConfigError, match="0 to 10 sweeps"):
        tree.source().read(tree.source().list_samples()[0], ReadOptions(11, SIZE))


# What is wrong with the tree as a whole


def test_a_wrong_root_says_what_is_there(tree: KittiTree) -> None:
    (tree.root / "zip").mkdir()
    (tree.root / "zip/dataset").symlink_to(tree.root)
    for root, reason in [
        (tree.root / "nowhere", "no folder .*nowhere; --root is the SemanticKITTI folder"),
        (tree.root / "zip", "dataset has: use --root .*zip/dataset"),
        (tree.root / "sequences", f"--root is the folder above, {tree.root}"),
        (tree.root / "sequences/00", "has no folder sequences"),
    ]:
        with pytest.raises(DataError, match=reason) as caught:
            SemanticKITTI(root)
        assert "\n" not in str(caught.value)


def refuses(tree: KittiTree, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        tree.source().list_samples("val")
    assert "\n" not in str(caught.value)
    assert tree.source().list_samples("train")


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("calib.txt", "P2:", "P5:", "calib.txt has no line P2"),
        ("calib.txt", "Tr:", "Tr_velo_cam:", "calib.txt has no line Tr;"),
        ("calib.txt", "Tr: ", "Tr: 1 ", "a line that does not have 12 numbers: '1 "),
        ("calib.txt", "P2: 7.2", "P2: x7.2", "a line that does not have 12 numbers: 'x7.2"),
        ("calib.txt", "P2: 7.2", "P2: 0.0", "calib.txt: P2 or Tr is wrong: Singular"),
        ("calib.txt", "Tr: -9.39", "Tr: 939", "calib.txt: P2 or Tr is wrong: the transform's 3x3 part"),
        ("poses.txt", "\n", " 1\n", "poses.txt has a line that does not have 12"),
        ("poses.txt", "\n", " ", "poses.txt has 1 lines, but there is a frame 000003"),
        ("times.txt", "\n", "", "times.txt has 1 lines, but there is a frame 000003"),
        ("times.txt", "1.037000e-01", "soon", "times.txt has a line that does not have 1 numbers: 'soon'"),
        ("times.txt", "1.037000e-01", "nan", "times.txt has a time that is not finite"),
    ],
)
def test_broken_text_files_are_refused(tree: KittiTree, name: str, old: str, new: str, reason: str) -> None:
    tree.edit(f"sequences/08/{name}", old, new)
    refuses(tree, reason)


def test_missing_files_are_named(tree: KittiTree) -> None:
    folder = tree.root / "sequences/08"
    (folder / "calib.txt").rename(folder / "away")
    refuses(tree, "08 has no calib.txt, which its images and poses need")
    (folder / "away").rename(folder / "calib.txt")
    (folder / "velodyne/000001.bin").rename(folder / "velodyne/1.bin")
    refuses(tree, r"1\.bin is not named by a frame number")
    (folder / "velodyne").rename(folder / "points")
    refuses(tree, "no folder .*08/velodyne; unpack KITTI odometry")
    (folder / "velodyne").mkdir()
    refuses(tree, "velodyne has no .bin files")


# What is wrong with one frame


def refused(tree: KittiTree, reason: str, lidar_sweeps: int = 0) -> None:
    """The third frame of sequence 08 is refused in one line; one of sequence 00 is fine."""
    source = tree.source()
    keyframes = source.list_samples()
    with pytest.raises(FrameError, match=reason) as caught:
        source.read(keyframes[FRAMES + 2], ReadOptions(lidar_sweeps, SIZE))
    assert "\n" not in str(caught.value)
    source.read(keyframes[2], ReadOptions(lidar_sweeps, SIZE))


FOLDER = "sequences/08"


@pytest.mark.parametrize(
    "name", ["velodyne/000001.bin", "velodyne/000002.bin", "labels/000002.label", "image_2/000002.png"]
)
def test_a_file_that_goes_missing_is_named(tree: KittiTree, name: str) -> None:
    source = tree.source()
    keyframe = source.list_samples("val")[2]
    (tree.root / FOLDER / name).unlink()
    with pytest.raises(FrameError, match=f"{FOLDER}/{name} is missing under {tree.root}"):
        source.read(keyframe, ReadOptions(1, SIZE))


@pytest.mark.parametrize("size", [0, 15, 16 * POINTS - 4])
def test_truncated_points_are_refused(tree: KittiTree, size: int) -> None:
    path = tree.root / FOLDER / "velodyne/000002.bin"
    path.write_bytes(path.read_bytes()[:size])
    refused(tree, f"000002.bin is truncated: {size} bytes")


def test_points_that_are_not_finite_are_refused(tree: KittiTree) -> None:
    path = tree.root / FOLDER / "velodyne/000002.bin"
    points = np.fromfile(path, "<f4")
    points[41] = np.nan
    points.tofile(path)
    refused(tree, "000002.bin has points that are not finite")


@pytest.mark.parametrize("cut", [1, 4])
def test_labels_must_be_as_many_as_points(tree: KittiTree, cut: int) -> None:
    path = tree.root / FOLDER / "labels/000002.label"
    path.write_bytes(path.read_bytes()[:-cut])
    refused(tree, rf"000002.label has {POINTS - cut / 4:g} labels, .*000002.bin {POINTS} points")


def test_an_unknown_label_is_named(tree: KittiTree) -> None:
    path = tree.root / FOLDER / "labels/000002.label"
    path.write_bytes(path.read_bytes()[:-4] + b"\x07\x00\x01\x00")
    refused(tree, "000002.label has label 7, which SemanticKITTI does not use")


def test_broken_and_resized_images_are_refused(tree: KittiTree) -> None:
    path = tree.root / FOLDER / "image_2/000002.png"
    path.write_bytes(path.read_bytes()[:-100])
    refused(tree, "000002.png: the image is truncated")
    path.write_bytes(png(np.zeros((18, 62, 3), np.uint8)))
    refused(tree, "the image is 62x18 pixels, but the calibration has its centre at 61, 17")


@pytest.mark.parametrize("line", [1, 2])
@pytest.mark.parametrize("bad", ["inf", "nan", "3.5"])
def test_a_broken_pose_is_refused_where_it_is_used(tree: KittiTree, line: int, bad: str) -> None:
    path = tree.root / FOLDER / "poses.txt"
    lines = path.read_text().splitlines()
    lines[line] = " ".join([bad, *lines[line].split()[1:]])
    path.write_text("\n".join(lines))
    refused(tree, "000001.bin: its pose or the keyframe's in poses.txt is wrong", lidar_sweeps=1)
    tree.source().read(tree.source().list_samples("val")[2], NATIVE)
