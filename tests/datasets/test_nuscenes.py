"""Protects the nuScenes adapter: calibration chain, sweeps, labels, splits, and what it says of broken trees."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets.nuscenes import NuScenes
from datasets.nuscenes.classes import CLASSES, IGNORED_CATEGORIES
from datasets.nuscenes.splits import official
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.sources import ReadOptions

MINI, VERSION = "v1.0-mini", "v1.0-mini"
SIZE = (36, 64)
NATIVE = ReadOptions(image_size=SIZE)
CHANNELS = ("CAM_FRONT", "CAM_FRONT_LEFT", "LIDAR_TOP", "RADAR_FRONT")
CATEGORIES = {"noise": 0, "human.pedestrian.adult": 2, "vehicle.car": 17, "static.vegetation": 30}
"""The tree's classes are car, pedestrian and vegetation: labels 1, 2, 3."""
LABEL_OF = {0: 0, 17: 1, 2: 2, 30: 3}


class Tree:
    """A tiny nuScenes tree: a static world seen from a moving car, 3 key frames a scene, a sweep between them."""

    def __init__(self, root: Path, scenes: tuple[str, ...] = ("scene-0103", "scene-0061")) -> None:
        self.root, self.tables = root, root / VERSION
        self.rng = np.random.default_rng(0)
        self.world = self.rng.uniform(-12, 12, (400, 3)) + np.array([1000, 2000, 0])
        self.raw = self.rng.choice(list(CATEGORIES.values()), 400).astype(np.uint8)
        self.rows: dict[str, list[dict]] = {
            name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "lidarseg")
        }
        self.sensors = [{"token": name, "channel": name} for name in CHANNELS]
        self.category = [{"token": name, "name": name, "index": index} for name, index in CATEGORIES.items()]
        turn = [0.5, -0.5, 0.5, -0.5]  # x right, y down, z forward of a camera that looks along x
        self.calibrations = [
            self._calibration("CAM_FRONT", turn, [1.5, 0, 1.5], [[30.0, 0, 32], [0, 30, 18], [0, 0, 1]]),
            self._calibration(
                "CAM_FRONT_LEFT", turn, [1.5, 0.5, 1.5], [[25.0, 0, 31], [0, 25, 17], [0, 0, 1]]
            ),
            self._calibration("LIDAR_TOP", self._yaw(-1.5), [0.9, 0, 1.8], []),
            self._calibration("RADAR_FRONT", [1, 0, 0, 0], [0, 0, 0], []),
        ]
        for number, name in enumerate(scenes):
            self._scene(number, name)
        self.write()

    @staticmethod
    def _calibration(channel: str, rotation: list, translation: list, intrinsic: list) -> dict:
        return {
            "token": f"calib-{channel}",
            "sensor_token": channel,
            "rotation": rotation,
            "translation": translation,
            "camera_intrinsic": intrinsic,
        }

    @staticmethod
    def _yaw(angle: float) -> list[float]:
        return [float(np.cos(angle / 2)), 0.0, 0.0, float(np.sin(angle / 2))]

    def _scene(self, number: int, name: str) -> None:
        self.rows["scene"].append({"token": name, "name": name})
        last = dict.fromkeys(CHANNELS, "")
        for step in range(5):
            sample = f"{name}-{step - step % 2}"
            if step % 2 == 0:
                time = number * 10**6 + step * 10**5
                self.rows["sample"].append({"token": sample, "timestamp": time, "scene_token": name})
            for offset, channel in enumerate(CHANNELS):
                token = f"{sample}-{step}-{channel}"
                self._record(
                    token, sample, channel, number * 10**6 + step * 10**5 + offset, step, last[channel]
                )
                last[channel] = token

    def _record(self, token: str, sample: str, channel: str, time: int, step: int, prev: str) -> None:
        key, camera, lidar = step % 2 == 0, channel.startswith("CAM"), channel == "LIDAR_TOP"
        moment = step + 0.1 * CHANNELS.index(channel)
        pose = {"token": f"pose-{token}", "rotation": self._yaw(0.3 + 0.1 * moment)}
        pose["translation"] = [1000 + 0.7 * moment, 2000 + 0.2 * moment, 0.05 * moment]
        self.rows["ego_pose"].append(pose)
        name = f"{'samples' if key else 'sweeps'}/{channel}/{token}.{'jpg' if camera else 'bin'}"
        self.rows["sample_data"].append(
            {
                "token": token,
                "sample_token": sample,
                "ego_pose_token": pose["token"],
                "calibrated_sensor_token": f"calib-{channel}",
                "timestamp": time,
                "is_key_frame": key,
                "height": SIZE[0] if camera else 0,
                "width": SIZE[1] if camera else 0,
                "filename": name,
                "prev": prev,
            }
        )
        if lidar:
            self._points(self.root / name, pose)
        if lidar and key:
            file = f"lidarseg/{VERSION}/{token}_lidarseg.bin"
            self.rows["lidarseg"].append({"token": token, "sample_data_token": token, "filename": file})
            _write(self.root / file, self.raw.tobytes())
        if camera and key:
            _write(self.root / name, _jpeg(self.rng.integers(0, 255, (*SIZE, 3), np.uint8)))

    def _points(self, path: Path, pose: dict) -> None:
        """The world in the LiDAR's frame, with a point on the car itself as the first."""
        points = _back(_back(self.world, pose), self.calibrations[2])
        points[0] = [0.5, -0.5, -1]
        rest = np.stack([np.arange(len(points)) % 256, np.zeros(len(points))], 1)
        _write(path, np.concatenate([points, rest], 1).astype("<f4").tobytes())

    def write(self) -> None:
        tables = self.rows | {
            "sensor": self.sensors,
            "calibrated_sensor": self.calibrations,
            "category": self.category,
        }
        for name, rows in tables.items():
            _write(self.tables / f"{name}.json", json.dumps(rows).encode())

    def source(self) -> NuScenes:
        return NuScenes(self.root, VERSION)

    def first(self, split: str | None = None):
        return self.source().keyframes(split)[0]

    def edit(self, table: str, token: str, **values) -> None:
        """Change a row's values and write the tables again."""
        rows = self.calibrations if table == "calibrated_sensor" else self.rows[table]
        next(row for row in rows if row["token"] == token).update(values)
        self.write()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _turn(record: dict) -> np.ndarray:
    return Rotation.from_quat(np.roll(record["rotation"], -1)).as_matrix()


def _forth(points: np.ndarray, record: dict) -> np.ndarray:
    return points @ _turn(record).T + record["translation"]


def _back(points: np.ndarray, record: dict) -> np.ndarray:
    return (points - record["translation"]) @ _turn(record)


def _oracle(root: Path, sample: str, channel: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The devkit's chain, one step after the other in float64: (u, v, depth) of all points."""

    def table(name: str) -> dict[str, dict]:
        return {row["token"]: row for row in json.loads((root / VERSION / f"{name}.json").read_text())}

    sensor, calibration, pose = table("sensor"), table("calibrated_sensor"), table("ego_pose")

    def record(wanted: str) -> dict:
        return next(
            row
            for row in table("sample_data").values()
            if row["sample_token"] == sample
            and row["is_key_frame"]
            and sensor[calibration[row["calibrated_sensor_token"]]["sensor_token"]]["channel"] == wanted
        )

    lidar, camera = record("LIDAR_TOP"), record(channel)
    points = np.fromfile(root / lidar["filename"], np.float32).reshape(-1, 5)[:, :3].astype(np.float64)
    points = _forth(points, calibration[lidar["calibrated_sensor_token"]])
    points = _forth(points, pose[lidar["ego_pose_token"]])
    points = _back(points, pose[camera["ego_pose_token"]])
    points = _back(points, calibration[camera["calibrated_sensor_token"]])
    pixels = points @ np.array(calibration[camera["calibrated_sensor_token"]]["camera_intrinsic"]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return pixels[:, 0] / pixels[:, 2], pixels[:, 1] / pixels[:, 2], points[:, 2]


def _expect_pairs(root: Path, frame, size: tuple[int, int]) -> dict[str, int]:
    """The frame's pairs are the oracle's, camera by camera; the number that also keep one pixel's distance."""
    counts = {}
    for view, channel in enumerate(frame.cameras):
        u, v, depth = _oracle(root, frame.token, channel)
        seen = (depth > 1) & (u > 0) & (u < size[1] - 1) & (v > 0) & (v < size[0] - 1)
        mine = frame.pair_pixels[:, 0] == view
        assert frame.pair_points[mine].tolist() == np.flatnonzero(seen).tolist()
        assert frame.pair_pixels[mine, 1].tolist() == v[seen].round().tolist()
        assert frame.pair_pixels[mine, 2].tolist() == u[seen].round().tolist()
        counts[channel] = int((seen & (u > 1) & (v > 1)).sum())
    return counts


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_the_real_frame_has_the_pairs_and_labels_that_are_known(real_nuscenes: Path):
    source = NuScenes(real_nuscenes, MINI)
    (keyframe,) = source.keyframes("mini_train")
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
    source = NuScenes(real_nuscenes, MINI)
    (keyframe,) = source.keyframes()
    full = source.read(keyframe, ReadOptions(image_size=(900, 1600)))
    small = source.read(keyframe, ReadOptions(sweeps=2))
    assert np.array_equal(small.pair_points[small.keyframe[small.pair_points]], full.pair_points)
    assert small.pair_pixels.max(0).tolist() == [5, 223, 415] and small.pair_pixels.min() == 0
    # no sweeps in this tree: the keyframe itself stands in, without the points on the car
    near = (np.abs(full.points[:, :2]) < 1).all(1)
    assert np.bincount(small.sweep).tolist() == [34688, (~near).sum(), (~near).sum()]


def test_pairs_are_those_of_the_chain_of_five_steps(tree: Tree):
    source = tree.source()
    for keyframe in source.keyframes():
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
    tokens = [keyframe.token for keyframe in tree.source().keyframes()]
    assert tokens == [f"{scene}-{step}" for scene in ("scene-0103", "scene-0061") for step in (0, 2, 4)]


def test_sweeps_lie_on_the_keyframe_where_the_world_stands_still(tree: Tree):
    """Sweep k is the world as the car saw it k records before; compensated, it is the keyframe's own world."""
    source = tree.source()
    keyframe = source.keyframes()[2]
    assert [name.split("-")[3] for name in keyframe.sweeps] == ["3", "2", "1", "0"]
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
    keyframe = source.keyframes()[1]
    frame = source.read(keyframe, ReadOptions(1, SIZE))
    raw = np.fromfile(tree.root / keyframe.sweeps[0], "<f4").reshape(-1, 5)
    far = ~((np.abs(raw[:, 0]) < 1) & (np.abs(raw[:, 1]) < 1))
    assert not far.all() and (frame.sweep == 1).sum() == far.sum()
    assert frame.features[frame.sweep == 1, 0].tolist() == raw[far, 3].tolist()
    assert (frame.sweep == 0).sum() == 400


def test_the_start_of_a_scene_repeats_the_last_sweep_or_the_keyframe(tree: Tree):
    source = tree.source()
    start, second = source.keyframes()[:2]
    assert start.sweeps == () and len(second.sweeps) == 2
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
    source, keyframe = pickle.loads(pickle.dumps((tree.source(), tree.source().keyframes()[4])))
    here = tree.source().read(tree.source().keyframes()[4], ReadOptions(3, SIZE))
    assert source.read(keyframe, ReadOptions(3, SIZE)).to_row() == here.to_row()
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
    source = NuScenes(real_nuscenes, MINI)
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


def test_words_and_colours_tell_the_classes_apart():
    assert len({entry.colour for entry in CLASSES.values()}) == 16
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
        split: {k.scene for k in tree.source().keyframes(split)} for split in ("mini_val", "train", "val")
    }
    assert scenes == {"mini_val": {"scene-0103"}, "train": {"scene-0061"}, "val": {"scene-0103"}}


def test_a_tree_can_bring_its_own_splits(tree: Tree):
    own = {"mine": ["scene-0061", "scene-9999"], "empty": []}
    (tree.tables / "splits.json").write_text(json.dumps(own))
    assert len(tree.source().keyframes("mine")) == 3
    with pytest.raises(DataError, match=r"unknown split train; known: mine, empty; with scenes here: mine"):
        tree.source().keyframes("train")
    with pytest.raises(DataError, match=r"no scene of empty; with scenes here: mine \(1 scenes\)"):
        tree.source().keyframes("empty")
    for broken in ("[1]", "{", '{"a": "scene-0061"}', '{"a": [1]}'):
        (tree.tables / "splits.json").write_text(broken)
        with pytest.raises(DataError, match=r"splits\.json must be"):
            tree.source().keyframes("mine")


# What is wrong with the tree as a whole


def test_a_split_without_scenes_here_names_those_with_some(real_nuscenes: Path):
    source = NuScenes(real_nuscenes, MINI)
    with pytest.raises(DataError, match=r"no scene of val; .*mini_train \(1 scenes\)"):
        source.keyframes("val")
    with pytest.raises(
        DataError, match=r"unknown split tset; known: train, val, test, .*with scenes here: train"
    ):
        source.keyframes("tset")


def test_a_wrong_root_says_what_is_there(tree: Tree):
    for root, version, reason in [
        (
            tree.root / "nowhere",
            VERSION,
            "no folder .*nowhere; --root is the nuScenes folder that holds v1.0-mini",
        ),
        (tree.root, "v1.0-trainval", "has no folder v1.0-trainval; versions there: v1.0-mini"),
        (tree.tables, VERSION, f"holds the tables themselves; .*{tree.root}"),
        (tree.root / "samples", VERSION, "there is no nuScenes version in it"),
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
        tree.source().keyframes()


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
            "rotation has a row that is not 4",
        ),
        ("ego_pose", "pose-scene-0103-2-2-LIDAR_TOP", {"translation": "far"}, "ego_pose.json is no table"),
    ],
)
def test_tables_that_do_not_fit_together_are_refused(tree: Tree, table, token, values, reason):
    tree.edit(table, token, **values)
    with pytest.raises(DataError, match=reason):
        tree.source().keyframes()


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


def _refused(tree: Tree, reason: str, sweeps: int = 0) -> None:
    """The second keyframe of the first scene is refused in one line, the next one is fine."""
    source = tree.source()
    keyframes = source.keyframes()
    with pytest.raises(FrameError, match=reason) as caught:
        source.read(keyframes[1], ReadOptions(sweeps, SIZE))
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
    _refused(tree, f"{name} is missing under {tree.root}", sweeps=1)
    (tree.root / name).mkdir()
    _refused(tree, f"{name} cannot be read: Is a directory", sweeps=1)


@pytest.mark.parametrize("name", [LIDAR_FILE, SWEEP_FILE])
@pytest.mark.parametrize("size", [0, 19, 8000 - 4])
def test_a_truncated_point_file_is_refused(tree: Tree, name: str, size: int):
    (tree.root / name).write_bytes((tree.root / name).read_bytes()[:size])
    _refused(tree, f"{name} is truncated: {size} bytes", sweeps=1)


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
    (tree.root / IMAGE_FILE).write_bytes(_jpeg(np.zeros((36, 60, 3), np.uint8)))
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
    _refused(tree, f"{IMAGE_FILE}: the transform is not finite, or its quaternion not of length 1")


def test_a_broken_pose_of_a_sweep_is_refused(tree: Tree):
    tree.edit("ego_pose", "pose-scene-0103-0-1-LIDAR_TOP", rotation=[3, 0, 0, 0])
    tree.source().read(tree.source().keyframes()[1], NATIVE)
    _refused(tree, f"{SWEEP_FILE}: the transform is not finite", sweeps=1)


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
