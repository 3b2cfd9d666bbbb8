"""Protects what the nuScenes adapter says of broken trees: one line that names the file and the mistake."""

from pathlib import Path

import numpy as np
import pytest

from datasets.nuscenes.source import NuScenes
from scenelift.errors import DataError, FrameError
from scenelift.samples.config import ReadOptions
from tests.made.nuscenes_tree import NATIVE, SIZE, VERSION, Tree, jpeg


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# What is wrong with the tree as a whole


def test_a_split_without_scenes_here_names_those_with_some(real_nuscenes: Path):
    source = NuScenes(real_nuscenes, VERSION)
    with pytest.raises(DataError, match=r"no scene of val; .*mini_train \(1 scenes\)"):
        source.list_samples("val")
    with pytest.raises(
        DataError, match=r"unknown split tset; known: train, val, test, .*with scenes here: train"
    ):
        source.list_samples("tset")


def test_a_wrong_root_says_what_is_there(tree: Tree):
    for root, version, reason in [
        (
            tree.root / "nowhere",
            VERSION,
            "no folder .*nowhere; --root is the nuScenes folder that holds v1.0-mini",
        ),
        (tree.root, "v1.0-trainval", "has no folder v1.0-trainval; versions there: v1.0-mini"),
        (tree.tables, VERSION, f"holds the tables themselves; .*{tree.root}"),
        (tree.root / "samples", VERSION, "it has no nuScenes version"),
    ]:
        with pytest.raises(DataError, match=reason) as caught:
            NuScenes(root, version)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "table", ["category", "scene", "sample", "sensor", "calibrated_sensor", "sample_data", "ego_pose"]
)
def test_a_missing_table_is_named(tree: Tree, table: str):
    (tree.tables / f"{table}.json").unlink()
    with pytest.raises(DataError, match=rf"no table {table}\.json"):
        tree.source().list_samples()


@pytest.mark.parametrize(
    ("table", "token", "values", "reason"),
    [
        (
            "sample_data",
            "scene-0103-2-2-LIDAR_TOP",
            {"ego_pose_token": "lost"},
            "ego_pose.json has no row lost",
        ),
        (
            "sample_data",
            "scene-0103-2-2-LIDAR_TOP",
            {"is_key_frame": False},
            "sample scene-0103-2 has no LIDAR_TOP key frame",
        ),
        ("sample_data", "scene-0103-2-2-LIDAR_TOP", {"filename": None}, "a row without filename"),
        (
            "ego_pose",
            "pose-scene-0103-2-2-LIDAR_TOP",
            {"rotation": [1, 0, 0]},
            "rotation has a row that does not have 4",
        ),
        ("ego_pose", "pose-scene-0103-2-2-LIDAR_TOP", {"translation": "far"}, "ego_pose.json is not a table"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(tree: Tree, table, token, values, reason):
    tree.edit(table, token, **values)
    with pytest.raises(DataError, match=reason):
        tree.source().list_samples()


def test_an_unknown_category_is_named(tree: Tree):
    tree.category.append({"token": "x", "name": "vehicle.spaceship", "index": 5})
    tree.write()
    with pytest.raises(DataError, match=r"unknown category vehicle\.spaceship"):
        tree.source()


def test_categories_without_indices_ask_for_those_of_lidarseg(tree: Tree):
    for row in tree.category:
        del row["index"]
    tree.write()
    with pytest.raises(DataError, match="no label indices; unpack nuScenes-lidarseg"):
        tree.source()


# What is wrong with one frame


def _refused(tree: Tree, reason: str, lidar_sweeps: int = 0) -> None:
    """The second keyframe of the first scene is refused in one line, the next one is fine."""
    source = tree.source()
    keyframes = source.list_samples()
    with pytest.raises(FrameError, match=reason) as caught:
        source.read(keyframes[1], ReadOptions(lidar_sweeps, SIZE))
    assert "\n" not in str(caught.value)
    source.read(keyframes[2], NATIVE)


LIDAR_FILE, SWEEP_FILE = (
    "samples/LIDAR_TOP/scene-0103-2-2-LIDAR_TOP.bin",
    "sweeps/LIDAR_TOP/scene-0103-0-1-LIDAR_TOP.bin",
)
IMAGE_FILE = "samples/CAM_FRONT/scene-0103-2-2-CAM_FRONT.jpg"
LABEL_FILE = f"lidarseg/{VERSION}/scene-0103-2-2-LIDAR_TOP_lidarseg.bin"


@pytest.mark.parametrize("name", [LIDAR_FILE, SWEEP_FILE, IMAGE_FILE, LABEL_FILE])
def test_a_missing_file_is_named(tree: Tree, name: str):
    (tree.root / name).unlink()
    _refused(tree, f"{name} is missing under {tree.root}", lidar_sweeps=1)
    (tree.root / name).mkdir()
    _refused(tree, f"{name} cannot be read: Is a directory", lidar_sweeps=1)


@pytest.mark.parametrize("name", [LIDAR_FILE, SWEEP_FILE])
@pytest.mark.parametrize("size", [0, 19, 8000 - 4])
def test_a_truncated_point_file_is_refused(tree: Tree, name: str, size: int):
    (tree.root / name).write_bytes((tree.root / name).read_bytes()[:size])
    _refused(tree, f"{name} is truncated: {size} bytes", lidar_sweeps=1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite_are_refused(tree: Tree, value: float):
    points = np.fromfile(tree.root / LIDAR_FILE, "<f4")
    points[5 * 77 + 2] = value
    points.tofile(tree.root / LIDAR_FILE)
    _refused(tree, f"{LIDAR_FILE} has points that are not finite")


def test_labels_must_be_as_many_as_points(tree: Tree):
    """Also a point file that was cut between two points is found this way."""
    (tree.root / LABEL_FILE).write_bytes(bytes(399))
    _refused(tree, f"{LABEL_FILE} has 399 labels, {LIDAR_FILE} 400 points")


def test_a_label_that_no_category_has_is_refused(tree: Tree):
    (tree.root / LABEL_FILE).write_bytes(bytes(399) + b"\x18")
    _refused(tree, f"{LABEL_FILE} has label 24, which category.json does not list")


def test_an_image_that_is_truncated_or_of_another_size_is_refused(tree: Tree):
    whole = (tree.root / IMAGE_FILE).read_bytes()
    (tree.root / IMAGE_FILE).write_bytes(whole[:-200])
    _refused(tree, f"{IMAGE_FILE}: the image is truncated")
    (tree.root / IMAGE_FILE).write_bytes(jpeg(np.zeros((36, 60, 3), np.uint8)))
    _refused(tree, f"{IMAGE_FILE}: the image is 60x36 pixels, the tables say 64x36")


POSE = "pose-scene-0103-2-2-"


@pytest.mark.parametrize(
    ("token", "values"),
    [
        (POSE + "CAM_FRONT", {"rotation": [0, 0, 0, 0]}),
        (POSE + "CAM_FRONT", {"rotation": [1, 1, 0, 0]}),
        (POSE + "CAM_FRONT", {"translation": [0, float("nan"), 0]}),
        (POSE + "LIDAR_TOP", {"translation": [float("inf"), 0, 0]}),
    ],
)
def test_a_broken_pose_is_refused_where_it_is_used(tree: Tree, token: str, values: dict):
    tree.edit("ego_pose", token, **values)
    _refused(tree, f"{IMAGE_FILE}: the transform is not finite, or its quaternion does not have length 1")


def test_a_broken_pose_of_a_sweep_is_refused(tree: Tree):
    tree.edit("ego_pose", "pose-scene-0103-0-1-LIDAR_TOP", rotation=[3, 0, 0, 0])
    tree.source().read(tree.source().list_samples()[1], NATIVE)
    _refused(tree, f"{SWEEP_FILE}: the transform is not finite", lidar_sweeps=1)


@pytest.mark.parametrize(
    ("intrinsic", "reason"),
    [
        ([[0, 0, 32], [0, 30, 18], [0, 0, 1]], "singular"),
        ([[30, 0, 32], [0, 30, float("nan")], [0, 0, 1]], "not finite"),
        ([], "not finite"),
        ([[30, 0], [0, 30]], "not finite"),
    ],
)
def test_a_broken_intrinsic_matrix_is_refused(tree: Tree, intrinsic: list, reason: str):
    tree.edit("calibrated_sensor", "calib-CAM_FRONT", camera_intrinsic=intrinsic)
    with pytest.raises(FrameError, match=f"jpg: the intrinsic matrix is {reason}"):
        tree.source().read(tree.first(), NATIVE)
