"""The written world is a nuScenes tree: tables that resolve, chains, files, and nothing half done."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets.nuscenes.classes import label_table
from datasets.nuscenes.source import NuScenes
from datasets.synthetic import generate as generating
from datasets.synthetic.capture import photograph
from datasets.synthetic.classes import CATEGORIES, Raw
from datasets.synthetic.config import CAMERA_YAWS, PRESETS, SPLITS, WorldConfig
from datasets.synthetic.generate import DONE, UNFINISHED, generate
from datasets.synthetic.run import run
from datasets.synthetic.sensors import build_rig
from datasets.synthetic.tables import TABLES, SceneRecord
from datasets.synthetic.world import build
from scenelift.config.build import override
from scenelift.config.files import load
from scenelift.errors import ConfigError, StorageError
from scenelift.samples.config import ReadOptions

pytestmark = pytest.mark.slow  # each fixture writes a world

Tables = dict[str, list[dict[str, Any]]]
FOREIGN = {"first_sample_token": "sample", "last_sample_token": "sample"} | {
    f"{end}_annotation_token": "sample_annotation" for end in ("first", "last")
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> WorldConfig:
    out = tmp_path_factory.mktemp("world") / "tree"
    config = replace(PRESETS["tiny"], out=out, train_scenes=1, teacher_scenes=1, lidar_sweeps=2, workers=1)
    assert generate(config) is not None
    return config


@pytest.fixture(scope="module")
def tables(config: WorldConfig) -> Tables:
    return {
        table: json.loads((config.out / config.version / f"{table}.json").read_text()) for table in TABLES
    }


@pytest.fixture
def fresh(tmp_path: Path) -> WorldConfig:
    return replace(PRESETS["tiny"], out=tmp_path / "tree", train_scenes=1, val_scenes=1, workers=1)


def _files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def _by_token(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["token"]: row for row in rows}


def _matrix(row: dict[str, Any]) -> np.ndarray:
    w, x, y, z = row["rotation"]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_quat([x, y, z, w]).as_matrix(), row["translation"]
    return matrix


def test_every_token_resolves_and_is_unique(tables: Tables) -> None:
    known = {table: set(_by_token(rows)) for table, rows in tables.items()}
    for table, rows in tables.items():
        assert rows and len(known[table]) == len(rows)
        for row in rows:
            for key, value in row.items():
                if key in ("prev", "next"):
                    assert value == "" or value in known[table]
                elif key.endswith("_token"):
                    assert value in known[FOREIGN.get(key, key.removesuffix("_token"))], (table, key)
                elif key.endswith("_tokens"):
                    assert set(value) <= known[key.removesuffix("_tokens")]


def test_fields_are_those_of_the_real_tables(tables: Tables, real_nuscenes: Path) -> None:
    for table in TABLES:
        real = json.loads((real_nuscenes / "v1.0-mini" / f"{table}.json").read_text())
        for row in real[:1]:
            assert {key: type(value) for key, value in row.items()} == {
                key: type(value) for key, value in tables[table][0].items()
            }


def test_sensor_data_is_chained_in_time(config: WorldConfig, tables: Tables) -> None:
    data, calibrations = _by_token(tables["sample_data"]), _by_token(tables["calibrated_sensor"])
    sensors, samples = _by_token(tables["sensor"]), _by_token(tables["sample"])
    chains: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in tables["sample_data"]:
        channel = sensors[calibrations[row["calibrated_sensor_token"]]["sensor_token"]]["channel"]
        assert f"/{channel}/" in row["filename"]
        chains.setdefault((samples[row["sample_token"]]["scene_token"], channel), []).append(row)
    assert len(chains) == len(tables["scene"]) * 3
    for (_, channel), rows in chains.items():
        (row,) = [row for row in rows if not row["prev"]]
        walked = [row]
        while row["next"]:
            assert data[row["next"]]["prev"] == row["token"]
            assert data[row["next"]]["timestamp"] > row["timestamp"]
            row = data[row["next"]]
            walked.append(row)
        assert {row["token"] for row in walked} == {row["token"] for row in rows}
        keys = [row["is_key_frame"] for row in walked]
        expected = [False, False, True] if channel == "LIDAR_TOP" else [True]
        assert keys == expected * config.frames_per_scene


def test_samples_scenes_and_instances_are_chained(tables: Tables) -> None:
    samples, annotations = _by_token(tables["sample"]), _by_token(tables["sample_annotation"])
    for kind, parents, rows, count in (
        ("sample", tables["scene"], samples, "nbr_samples"),
        ("annotation", tables["instance"], annotations, "nbr_annotations"),
    ):
        walked = 0
        for parent in parents:
            row, before = rows[parent[f"first_{kind}_token"]], ""
            for _ in range(parent[count]):
                assert row["prev"] == before
                before, walked = row["token"], walked + 1
                row = rows.get(row["next"], {})
            assert before == parent[f"last_{kind}_token"] and not row
        assert walked == len(rows)
    categories = {row["token"] for row in tables["category"]}
    assert {row["category_token"] for row in tables["instance"]} <= categories


def test_categories_are_noise_and_the_classes_of_the_world(tables: Tables) -> None:
    listed = {(row["index"], row["name"]) for row in tables["category"]}
    assert listed == {(int(raw), name) for raw, (name, _, _) in CATEGORIES.items()}
    assert len(listed) == 12 and (0, "noise") in listed


def test_files_are_those_of_the_tables_with_their_sizes(config: WorldConfig, tables: Tables) -> None:
    labels = {row["sample_data_token"]: row["filename"] for row in tables["lidarseg"]}
    for row in tables["sample_data"]:
        file = config.out / row["filename"]
        if row["fileformat"] == "jpg":
            with Image.open(file) as image:
                assert image.size == (48, 32) == (row["width"], row["height"]) and image.mode == "RGB"
            continue
        cloud = np.fromfile(file, "<f4").reshape(-1, 5)
        assert np.isfinite(cloud).all() and cloud[:, 4].max() < config.beams and len(cloud) > 500
        assert row["filename"].startswith("samples" if row["is_key_frame"] else "sweeps")
        assert row["is_key_frame"] == (row["token"] in labels)
        if row["is_key_frame"]:
            raw = np.fromfile(config.out / labels[row["token"]], np.uint8)
            assert len(raw) == len(cloud) and set(raw.tolist()) <= {int(index) for index in Raw}
    named = {row["filename"] for row in tables["sample_data"]} | set(labels.values())
    beside = {f"{config.version}/{table}.json" for table in (*TABLES, "splits", "regions")}
    assert set(_files(config.out)) == named | beside | {DONE, "maps/none.png"}


def test_boxes_hold_the_points_they_count(config: WorldConfig, tables: Tables) -> None:
    """Through calibration and ego pose into the global frame, and into each box."""
    poses, calibrations = _by_token(tables["ego_pose"]), _by_token(tables["calibrated_sensor"])
    instances, categories = _by_token(tables["instance"]), _by_token(tables["category"])
    labels = {row["sample_data_token"]: row["filename"] for row in tables["lidarseg"]}
    clouds = {row["sample_token"]: row for row in tables["sample_data"] if row["token"] in labels}
    counted = found = 0
    for box in tables["sample_annotation"]:
        row = clouds[box["sample_token"]]
        points = np.fromfile(config.out / row["filename"], "<f4").reshape(-1, 5)
        raw = np.fromfile(config.out / labels[row["token"]], np.uint8)
        chain = _matrix(poses[row["ego_pose_token"]]) @ _matrix(calibrations[row["calibrated_sensor_token"]])
        category = categories[instances[box["instance_token"]]["category_token"]]
        points = np.c_[points[raw == category["index"], :3], np.ones((raw == category["index"]).sum())]
        local = (points @ (np.linalg.inv(_matrix(box)) @ chain).T)[:, :3]
        width, length, height = box["size"]
        inside = (np.abs(local) <= np.array([length, width, height]) / 2 + 0.06).all(1)
        counted, found = counted + box["num_lidar_pts"], found + min(inside.sum(), box["num_lidar_pts"])
        assert box["num_lidar_pts"] >= 1
    assert counted > 200 and found > 0.97 * counted


def test_cameras_expose_from_other_places_than_the_lidar(config: WorldConfig, tables: Tables) -> None:
    poses, keys = _by_token(tables["ego_pose"]), [row for row in tables["sample_data"] if row["is_key_frame"]]
    lidar = {row["sample_token"]: poses[row["token"]] for row in keys if row["fileformat"] == "pcd"}
    for row in keys:
        if row["fileformat"] == "jpg":
            apart = np.subtract(poses[row["token"]]["translation"], lidar[row["sample_token"]]["translation"])
            assert 0.001 < np.linalg.norm(apart) < 1
            assert abs(row["timestamp"] - lidar[row["sample_token"]]["timestamp"]) < 50_000


def test_points_land_on_the_middle_of_pixels_of_their_class(tmp_path: Path) -> None:
    """Read as a real nuScenes tree, a pair's pixel has the point's class more often than any pixel beside it."""
    one: dict[str, Any] = {"train_scenes": 0, "val_scenes": 1, "frames_per_scene": 1, "lidar_sweeps": 0}
    world = replace(PRESETS["demo"], out=tmp_path / "street", workers=1, **one)
    generate(world)
    source = NuScenes(world.out, world.version)
    frame = source.read(source.list_samples("val")[0], ReadOptions(image_size=world.sensors.image_size))
    scene, rig = build(world, frame.scene), build_rig(world, frame.scene)
    seen = [photograph(scene, camera, camera.delay, np.random.default_rng(0)).raw for camera in rig.cameras]
    categories = {name: int(raw) for raw, (name, *_) in CATEGORIES.items()}
    classes = label_table(categories, source.vocabulary)[np.stack(seen)]
    assert frame.labels is not None and frame.cameras == tuple(camera.channel for camera in rig.cameras)
    labels, (view, row, column) = frame.labels[frame.pair_points], frame.pair_pixels.T

    def agreement(down: int, right: int) -> float:
        found = classes[view, np.clip(row + down, 0, 111), np.clip(column + right, 0, 191)]
        return float((found == labels)[labels > 0].mean())

    beside = max(agreement(*step) for step in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    assert agreement(0, 0) > max(0.94, beside + 0.01), "half a pixel off, two neighbours are as good"


def test_splits_are_disjoint_and_only_the_teacher_has_regions(config: WorldConfig, tables: Tables) -> None:
    folder = config.out / config.version
    splits = json.loads((folder / "splits.json").read_text())
    captions = json.loads((folder / "regions.json").read_text())
    assert splits == {"train": ["scene-0001"], "val": ["scene-2001"], "teacher": ["scene-4001"]}
    assert {row["name"] for row in tables["scene"]} == {name for names in splits.values() for name in names}
    images = {row["filename"] for row in tables["sample_data"] if row["fileformat"] == "jpg"}
    assert set(captions) == {image for image in images if "synthetic-teacher" in image}
    names = {name for regions in captions.values() for *_, found in regions for name in found}
    assert names <= {name for _, name, _ in CATEGORIES.values() if name} and len(names) > 4


def test_split_names_never_overlap() -> None:
    seen = [number for numbers in SPLITS.values() for number in numbers]
    assert len(seen) == len(set(seen))


def test_bytes_depend_on_the_seed_and_not_on_processes(fresh: WorldConfig, tmp_path: Path) -> None:
    generate(fresh)
    generate(replace(fresh, out=tmp_path / "two", workers=2))
    generate(replace(fresh, out=tmp_path / "seed", seed=1))
    generate(replace(fresh, out=tmp_path / "more", train_scenes=2))
    files = _files(fresh.out)
    assert files == _files(tmp_path / "two")
    assert not set(files.values()) & {
        content for content in _files(tmp_path / "seed").values() if len(content) > 9_000
    }
    more = _files(tmp_path / "more")
    sensor_files = [name for name in files if name.startswith(("samples", "sweeps", "lidarseg"))]
    assert len(sensor_files) > 10 and all(files[name] == more[name] for name in sensor_files)


def test_a_finished_world_is_left_alone_and_others_are_refused(fresh: WorldConfig) -> None:
    generate(fresh)
    before = {file: file.stat().st_mtime_ns for file in fresh.out.rglob("*")}
    assert generate(replace(fresh, workers=2)) is None
    with pytest.raises(ConfigError, match=r"another world \(seed 0, not 3\); choose another --out"):
        generate(replace(fresh, seed=3))
    assert before == {file: file.stat().st_mtime_ns for file in fresh.out.rglob("*")}
    assert load(WorldConfig, fresh.out / DONE) == fresh.identity


def test_foreign_folders_are_refused_and_kept(fresh: WorldConfig) -> None:
    fresh.out.mkdir()
    (fresh.out / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty"):
        generate(fresh)
    assert _files(fresh.out) == {"thesis.tex": b"years of work"}
    with pytest.raises(ConfigError, match="is a file"):
        generate(replace(fresh, out=fresh.out / "thesis.tex"))


def test_an_interrupted_world_looks_unfinished_and_is_done_again(
    fresh: WorldConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = generating.write_scene

    def full(config: WorldConfig, name: str) -> SceneRecord:
        if name == "scene-2001":
            raise OSError("no space left on device")
        return real(config, name)

    with monkeypatch.context() as patch:
        patch.setattr(generating, "write_scene", full)
        with pytest.raises(StorageError, match="no space left"):
            generate(fresh)
    assert (fresh.out / UNFINISHED).exists() and not (fresh.out / DONE).exists()
    assert not (fresh.out / fresh.version).exists()
    with pytest.raises(ConfigError, match="another world"):
        generate(replace(fresh, seed=9))
    (fresh.out / "samples" / "stale.jpg").write_bytes(b"")
    generate(fresh)
    generate(replace(fresh, out=tmp_path / "straight"))
    assert _files(fresh.out) == _files(tmp_path / "straight")


def test_the_command_says_what_is_there_and_what_comes_next(
    fresh: WorldConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    run(fresh)
    first = capsys.readouterr().out
    run(fresh)
    second = capsys.readouterr().out
    assert "1 train, 1 val scenes, 4 keyframes" in first and "driveable_surface" in first
    assert "already" in second
    for text in (first, second):
        assert f"datasets.shard nuscenes --root {fresh.out} --version v1.1-synthetic --split train" in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cameras": ["CAM_FRNT"]}, "did you mean CAM_FRONT"),
        ({"cameras": ["CAM_BACK", "CAM_BACK"]}, "each once"),
        ({"train_scenes": 2001}, "train_scenes must be .* at most 2000"),
        ({"train_scenes": 0, "val_scenes": 0}, "a world needs a scene"),
        ({"lidar_sweeps": 5}, "lidar_sweeps must be .* at most 4"),
        ({"image_size": [8, 48]}, "image_size"),
        ({"version": "v1/b"}, "version is a folder's name"),
        ({"version": ".."}, "version is a folder's name"),
        ({"version": "samples"}, "version is a folder's name"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(PRESETS["tiny"], values)


def test_all_six_cameras_and_no_sweeps(fresh: WorldConfig) -> None:
    config = replace(fresh, cameras=tuple(CAMERA_YAWS), lidar_sweeps=0, train_scenes=1, val_scenes=0)
    generate(config)
    rows = json.loads((config.out / config.version / "sample_data.json").read_text())
    assert len(rows) == config.frames_per_scene * 7 and all(row["is_key_frame"] for row in rows)
