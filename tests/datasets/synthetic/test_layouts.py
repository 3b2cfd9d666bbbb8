"""The world in SemanticKITTI's and ScanNet's files: read back by the real adapters, it is the world that was drawn.

Projections go through the written calibration and are compared with what the renderer drew at the pixel.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.scannet.source import ScanNet
from datasets.semantickitti.classes import LABEL_TABLE
from datasets.semantickitti.source import SemanticKITTI
from datasets.synthetic import scannet, semantickitti
from datasets.synthetic import shards as making
from datasets.synthetic.capture import photograph
from datasets.synthetic.classes import CATEGORIES, Raw
from datasets.synthetic.config import PRESETS, SCENE_NAMES, WorldConfig
from datasets.synthetic.generate import DONE, UNFINISHED, generate
from datasets.synthetic.render import trace
from datasets.synthetic.run import run
from datasets.synthetic.sensors import build_rig
from datasets.synthetic.world import build
from scenelift.config.build import override
from scenelift.errors import ConfigError, ShardError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from scenelift.samples.images import decode
from scenelift.samples.kind import MANIFEST, Manifest
from trainables.teacher.regions import sentences

pytestmark = pytest.mark.slow  # each fixture writes a world

TINY = replace(PRESETS["tiny"], workers=1)


@pytest.fixture(scope="module")
def kitti(tmp_path_factory: pytest.TempPathFactory) -> WorldConfig:
    """Eleven drives of training, two of them in sequence 00, and two of testing."""
    out = tmp_path_factory.mktemp("kitti") / "tree"
    world = replace(TINY, layout="semantickitti", out=out, train_scenes=11, val_scenes=2, lidar_sweeps=2)
    generate(world)
    return world


@pytest.fixture(scope="module")
def kitti_full(tmp_path_factory: pytest.TempPathFactory) -> WorldConfig:
    out = tmp_path_factory.mktemp("kitti") / "full"
    one: dict[str, Any] = {
        "train_scenes": 1,
        "val_scenes": 0,
        "frames_per_scene": 1,
        "lidar_sweeps": 1,
        "workers": 1,
    }
    world = replace(PRESETS["demo"], layout="semantickitti", out=out, **one)
    generate(world)
    return world


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> WorldConfig:
    """Two rooms at real resolution, with two photos at each of two places."""
    out = tmp_path_factory.mktemp("rooms") / "tree"
    few: dict[str, Any] = {
        "train_scenes": 1,
        "val_scenes": 1,
        "frames_per_scene": 2,
        "cameras": ("CAM_FRONT", "CAM_BACK"),
    }
    world = replace(PRESETS["demo"], layout="scannet", out=out, workers=1, **few)
    generate(world)
    return world


def _files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def _calibration(folder: Path) -> dict[str, np.ndarray]:
    lines = (folder / "calib.txt").read_text().splitlines()
    pairs = [line.split(": ") for line in lines]
    return {name: np.array(values.split(), float).reshape(3, 4) for name, values in pairs}


def _kitti_class(raw: np.ndarray) -> np.ndarray:
    table = np.zeros(32, np.uint8)
    table[list(semantickitti.LABELS)] = LABEL_TABLE[list(semantickitti.LABELS.values())]
    return table[raw]


def test_intrinsics_send_the_rays_of_pixels_to_whole_coordinates(kitti: WorldConfig) -> None:
    nuscenes = build_rig(TINY, "scene-0001").cameras
    rooms = build_rig(kitti, "scene0001_00").cameras
    for camera in (semantickitti.build_rig(kitti, "00").color, *rooms, *nuscenes):
        rows, columns = np.indices(camera.size)
        u, v, one = np.einsum("ij,jhw->ihw", camera.intrinsic, camera.rays)
        assert np.allclose(u, columns, atol=1e-3) and np.allclose(v, rows, atol=1e-3) and np.allclose(one, 1)


def test_velodyne_points_land_on_pixels_of_their_class(kitti_full: WorldConfig) -> None:
    """P2 Tr p, brute force, against the class and the depth that the renderer has at that pixel."""
    folder = kitti_full.out / "sequences" / "00"
    points = np.fromfile(folder / "velodyne" / "000001.bin", "<f4").reshape(-1, 4)
    labels = LABEL_TABLE[np.fromfile(folder / "labels" / "000001.label", "<u4") & 0xFFFF]
    calibration = _calibration(folder)
    transform = calibration["P2"] @ np.r_[calibration["Tr"], [[0, 0, 0, 1]]]
    u, v, depth = transform @ np.c_[points[:, :3], np.ones(len(points))].T
    column, row = np.rint(u / depth), np.rint(v / depth)
    inside = (depth > 1) & (row >= 0) & (row < 96) & (column >= 0) & (column < 320) & (labels > 0)
    row, column = row[inside].astype(int), column[inside].astype(int)
    scene, camera = build(kitti_full, "drive-0001"), semantickitti.build_rig(kitti_full, "00").color
    drawn = photograph(scene, camera, 0.0, np.random.default_rng(0))
    rendered = trace(scene, camera, camera.mount.then(scene.ego_pose(0.0)), 0.0).t[row, column]
    unoccluded = depth[inside] < 1.03 * rendered + 0.3
    assert inside.sum() > 3000 and unoccluded.mean() > 0.9
    same = _kitti_class(drawn.raw[row, column]) == labels[inside]
    assert same[unoccluded].mean() > 0.95
    near = np.abs(depth[inside] - rendered) < 0.03 * rendered + 0.3
    assert near[unoccluded].mean() > 0.95
    picture = np.asarray(Image.open(folder / "image_2" / "000001.png"), float)
    assert np.abs(picture - drawn.image).mean() < 10  # the same view, other noise


def test_the_adapter_reads_the_same_pairs(kitti_full: WorldConfig) -> None:
    source = SemanticKITTI(kitti_full.out)
    frame = source.read(source.list_samples("train")[1], ReadOptions(image_size=(96, 320)))
    scene, camera = build(kitti_full, "drive-0001"), semantickitti.build_rig(kitti_full, "00").color
    drawn = photograph(scene, camera, 0.0, np.random.default_rng(0))
    assert frame.labels is not None
    labels, (_, row, column) = frame.labels[frame.pair_points], frame.pair_pixels.T
    assert (_kitti_class(drawn.raw[row, column]) == labels)[labels > 0].mean() > 0.95
    assert frame.features.min() >= 0 and frame.features.max() <= 1 and frame.features.std() > 0.02


def test_sweeps_lie_where_the_ego_vehicle_was(kitti: WorldConfig) -> None:
    """The adapter's sweeps through calib.txt and poses.txt, against the poses of the world, in a later drive."""
    source, name = SemanticKITTI(kitti.out), "drive-2002"
    keyframe = source.list_samples("val")[6 + 5]
    frame = source.read(keyframe, ReadOptions(lidar_sweeps=2, image_size=(32, 48)))
    scene, mount = build(kitti, name), semantickitti.build_rig(kitti, "08").lidar.mount
    now = mount.then(scene.ego_pose(0.3))
    for back in (1, 2):
        raw = np.fromfile(kitti.out / f"sequences/08/velodyne/{11 - back:06d}.bin", "<f4").reshape(-1, 4)
        then = mount.then(scene.ego_pose(0.3 - back * 0.1))
        world = raw[:, :3].astype(float) @ then.rotation.T + then.translation
        expected = (world - now.translation) @ now.rotation
        assert np.abs(frame.points[frame.sweep == back] - expected).max() < 1e-3
        assert np.linalg.norm(then.translation - now.translation) > 0.25 * back


def test_drives_follow_each_other_and_jump(kitti: WorldConfig) -> None:
    per_drive = semantickitti.scans_per_drive(kitti)
    sequences = sorted(folder.name for folder in (kitti.out / "sequences").iterdir())
    assert sequences == sorted((*semantickitti.SEQUENCES["train"], "08"))
    for sequence, drives in (("00", 2), ("10", 1), ("08", 2)):
        folder = kitti.out / "sequences" / sequence
        times = np.loadtxt(folder / "times.txt", ndmin=1)
        poses = np.loadtxt(folder / "poses.txt").reshape(-1, 3, 4)
        assert len(times) == len(poses) == drives * per_drive
        assert {len(list((folder / part).iterdir())) for part in semantickitti.PARTS} == {len(times)}
        gaps, steps = np.diff(times), np.linalg.norm(np.diff(poses[:, :, 3], axis=0), axis=1)
        within = np.arange(1, len(times)) % per_drive != 0
        assert np.allclose(gaps[within], 0.1) and (gaps[~within] > 900).all()
        assert (steps[within] > 0.25).all() and (steps[within] < 1).all() and (steps[~within] > 10).all()
        assert np.array_equal(poses[0], np.eye(4)[:3])


def test_labels_tell_what_moves_and_number_instances(kitti: WorldConfig) -> None:
    raw = np.concatenate(
        [np.fromfile(file, "<u4") for file in sorted(kitti.out.glob("sequences/*/labels/*.label"))]
    )
    labels, instances = raw & 0xFFFF, raw >> 16
    known = {*semantickitti.LABELS.values(), *semantickitti.MOVING_LABELS.values()}
    assert set(labels.tolist()) <= known and len(set(labels.tolist())) > 12
    things = [10, 13, 18, 30, 51, 99, 252, 254, 257, 258]
    assert ((instances > 0) == np.isin(labels, things)).all()
    ghosts = (labels == 0).mean()
    assert 0.0005 < ghosts < 0.01
    scene, moving = build(kitti, "drive-0001"), list(semantickitti.MOVING_LABELS.values())
    first = np.fromfile(kitti.out / "sequences/00/labels/000000.label", "<u4")
    found = np.unique(first[np.isin(first & 0xFFFF, moving)] >> 16).astype(int) - 1
    assert len(found) and scene.moving[found].all()


def test_prompts_are_words_that_the_tiny_teacher_knows(kitti: WorldConfig, rooms: WorldConfig) -> None:
    known = {word for sentence in sentences() for word in sentence.replace(".", "").split()}
    for source in (SemanticKITTI(kitti.out), ScanNet(rooms.out)):
        assert {word for words in source.vocabulary.words for text in words for word in text.split()} <= known


def test_rooms_are_read_by_the_adapter_with_the_classes_of_the_street(rooms: WorldConfig) -> None:
    source = ScanNet(rooms.out)
    names = {name for _, name, _ in CATEGORIES.values() if name}
    assert set(source.vocabulary.classes) == names and len(source.vocabulary.classes) == 11
    (keyframe,) = source.list_samples("val")
    frame = source.read(keyframe, ReadOptions(image_size=(144, 192)))
    assert frame.scene == "scene2001_00" and len(frame.images) == 4 and len(frame.points) > 20_000
    assert frame.labels is not None and frame.labels.min() > 0 and len(np.unique(frame.labels)) >= 8
    assert np.abs(frame.points).max() < 15 and frame.points[:, 2].min() > -0.3
    assert frame.features.std(0).min() > 0.1
    assert 0.4 < frame.seen.mean() < 0.95


def test_vertices_land_on_pixels_of_their_class_and_depth(rooms: WorldConfig) -> None:
    """Brute force through pose and intrinsics_depth.txt, against the depth image and the rendered class."""
    name = "scene0001_00"
    source, scene = ScanNet(rooms.out), build(rooms, name)
    (keyframe,) = source.list_samples("train")
    frame = source.read(keyframe, ReadOptions(image_size=(144, 192)))
    camera = scannet.depth_camera(build_rig(rooms, name).cameras[1])
    ego = scannet.places(rooms, scene)[1]
    folder, file = rooms.out / scannet.FRAMES / name, "000300"
    depth = np.asarray(Image.open(folder / "depth" / f"{file}.png"), float) / 1000
    pose, intrinsic = np.loadtxt(folder / "pose" / f"{file}.txt"), np.loadtxt(folder / "intrinsics_depth.txt")
    seen = np.linalg.inv(pose) @ np.c_[frame.points, np.ones(len(frame.points))].T
    u, v, z, _ = intrinsic @ seen
    column, row = np.rint(u / z), np.rint(v / z)
    inside = (z > 0.05) & (row >= 0) & (row < depth.shape[0]) & (column >= 0) & (column < depth.shape[1])
    row, column, z = row[inside].astype(int), column[inside].astype(int), z[inside]
    measured = depth[row, column]
    unoccluded = (measured > 0) & (z < measured + 0.05)
    assert unoccluded.sum() > 3000
    assert (np.abs(z - measured) < 0.05)[unoccluded].mean() > 0.95
    ids = np.zeros(32, int)
    ids[list(scannet.NYU40)] = list(scannet.NYU40.values())
    drawn = ids[photograph(scene, camera, 0.0, np.random.default_rng(0), ego).raw]
    assert frame.labels is not None
    assert (drawn[row, column] == frame.labels[inside])[unoccluded].mean() > 0.95
    exact = trace(scene, camera, camera.mount.then(ego), 0.0).t / 10
    assert np.abs(depth - exact)[depth > 0].max() < 1e-3
    whole = photograph(scene, build_rig(rooms, name).cameras[1], 0.0, np.random.default_rng(0), ego)
    picture = np.asarray(Image.open(folder / "color" / f"{file}.jpg"), float)
    assert (np.abs(picture - whole.image).max(2) > 60).mean() < 0.003  # the same moment, other noise


def test_vertices_have_the_colors_of_the_photos(rooms: WorldConfig) -> None:
    source = ScanNet(rooms.out)
    frame = source.read(source.list_samples("train")[0], ReadOptions(image_size=(144, 192)))
    images = np.stack([decode(image) for image in frame.images])
    shown = images[tuple(frame.pair_pixels.T)].astype(float)
    painted = (frame.features[frame.pair_points] + 1) * 127.5
    assert np.median(np.abs(shown - painted)) < 8
    shuffled = np.random.default_rng(0).permutation(shown)
    assert np.abs(shown - painted).mean() < 0.5 * np.abs(shuffled - painted).mean()


def test_nothing_moves_in_a_room(rooms: WorldConfig) -> None:
    """The vertices of cars, scanned from all places, lie in the boxes where the cars were at time 0."""
    source, scene = ScanNet(rooms.out), build(rooms, "scene0001_00")
    places = [pose.translation for pose in scannet.places(rooms, scene)]
    assert 2 * scannet.REACH - 0.01 < np.linalg.norm(places[1] - places[0]) < 2 * scannet.REACH + 0.5
    frame = source.read(source.list_samples("train")[0], ReadOptions(image_size=(144, 192)))
    points = 10 * frame.points[frame.labels == source.vocabulary.classes.index("car") + 1].astype(float)
    cars = scene.raw == Raw.CAR
    assert len(points) > 200 and scene.moving[cars].any()
    (position, yaw), (centre, size) = scene.poses(0.0), scene.boxes()
    away = points[:, None] - position[cars]
    cos, sin = np.cos(yaw[cars]), np.sin(yaw[cars])
    x, y = cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]
    local = np.stack((x, y, away[..., 2]), 2) - centre[cars]
    inside = (np.abs(local) < size[cars] / 2 + 0.1).all(2)
    assert inside.any(1).mean() > 0.98


@pytest.mark.parametrize("layout", ["semantickitti", "scannet"])
def test_bytes_depend_on_the_seed_and_not_on_processes(layout: Any, tmp_path: Path) -> None:
    world = replace(TINY, layout=layout, out=tmp_path / "one", train_scenes=1, val_scenes=1)
    generate(world)
    generate(replace(world, out=tmp_path / "two", workers=2))
    generate(replace(world, out=tmp_path / "seed", seed=1))
    generate(replace(world, out=tmp_path / "more", train_scenes=2))
    files, more = _files(world.out), _files(tmp_path / "more")
    assert files == _files(tmp_path / "two")
    other = _files(tmp_path / "seed")
    clouds = [name for name in files if name.endswith((".bin", ".ply"))]
    assert clouds and not any(files[name] == other[name] for name in clouds)
    kept = [name for name in files if name.endswith((".bin", ".ply", ".label", ".png", ".jpg"))]
    assert all(files[name] == more[name] for name in kept)


@pytest.mark.parametrize("layout", ["semantickitti", "scannet"])
def test_a_world_is_left_alone_refused_to_others_and_done_again(layout: Any, tmp_path: Path) -> None:
    world = replace(TINY, layout=layout, out=tmp_path / "tree", train_scenes=1, val_scenes=0)
    generate(world)
    assert generate(world) is None
    with pytest.raises(ConfigError, match=f"layout {layout}, not nuscenes"):
        generate(replace(world, layout="nuscenes"))
    whole = _files(world.out)
    (world.out / DONE).rename(world.out / UNFINISHED)
    top = "sequences/00/velodyne" if layout == "semantickitti" else "scans/scene0001_00"
    (world.out / top / "999999.bin").write_bytes(b"")
    assert generate(world) is not None
    assert _files(world.out) == whole


def test_layouts_show_other_streets() -> None:
    names = [replace(TINY, layout=layout).splits()["train"][0] for layout in SCENE_NAMES]
    streets = [build(TINY, name).street.bend for name in names]
    assert len(set(names)) == len(set(streets)) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layout": "kitti"}, "not one of nuscenes, semantickitti, scannet"),
        ({"layout": "scannet", "teacher_scenes": 1}, "only --layout nuscenes"),
        ({"layout": "scannet", "image_size": [30, 50]}, "multiples of 4"),
        ({"layout": "semantickitti", "beams": 0}, "beams must be at least 2"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(PRESETS["tiny"], values)


def test_the_command_names_the_next_one_and_keeps_the_nuscenes_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="--out data/synthetic-scannet"):
        run(replace(PRESETS["demo"], layout="scannet"))
    out = tmp_path / "rooms"
    run(replace(TINY, layout="scannet", out=out, train_scenes=1, val_scenes=0))
    assert f"datasets.shard scannet --root {out} --split train --image_size 32 48" in capsys.readouterr().out


def test_unspecified_sensors_are_the_layouts_own() -> None:
    sensors = [replace(PRESETS["demo"], layout=layout).sensors for layout in SCENE_NAMES]
    assert [own.beams for own in sensors] == [32, 64, 32]
    demo = PRESETS["demo"].identity
    assert (demo.image_size, demo.beams, demo.azimuths) == ((112, 192), 32, 720)


@pytest.mark.parametrize("layout", ["nuscenes", "semantickitti", "scannet"])
def test_shards_of_the_demo_hold_keyframes_with_sweeps_and_superpixels(
    layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the shard job is asked for; the job itself is tested where it lives."""
    asked: dict[str, Any] = {}

    def write(source: Any, split: str, out: str, options: ReadOptions, **rest: Any) -> None:
        asked.update(keyframes=source.list_samples(split), options=options, source=source)

    world = replace(
        TINY, layout=layout, out=tmp_path / "world", train_scenes=12, val_scenes=1, lidar_sweeps=2
    )
    monkeypatch.setattr(making, "demo_world", lambda layout: world)
    monkeypatch.setattr(making, "write_shards", write)
    monkeypatch.setattr(making.cluster, "connect", nullcontext)
    assert making.synthetic_shards("train", layout) == f"{tmp_path / 'world'}-shards/train"
    options = asked["options"]
    assert options == ReadOptions(0 if layout == "scannet" else 2, world.sensors.image_size, 40)
    keyframes, frames = asked["keyframes"], world.frames_per_scene
    assert len(keyframes) == (12 if layout == "scannet" else 12 * frames)
    if layout == "semantickitti":
        numbers = [int(keyframe.token.split("-")[1]) for keyframe in keyframes]
        assert numbers[:4] == [2, 5, 8, 11] and {number % 3 for number in numbers} == {2}
        frame = asked["source"].read(keyframes[2], options)
        near = [frame.points[frame.sweep == sweep].mean(0) for sweep in (0, 1, 2)]
        assert np.linalg.norm(near[2] - near[0]) < 10, "sweeps are of the same drive"


def test_shards_with_other_options_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = replace(TINY, out=tmp_path / "world")
    monkeypatch.setattr(making, "demo_world", lambda layout: world)
    vocabulary = {"name": "one", "classes": ["car"], "words": [["car"]], "colors": [[1, 2, 3]]}
    about = {
        "vocabulary": vocabulary,
        "image_size": [32, 48],
        "lidar_sweeps": 0,
        "superpixels": 0,
        "cameras": [],
    }
    about |= {"points": 1, "pairs": {}, "labels": None}
    there = Manifest(
        "frame", FRAME.schema_version, "nuscenes", "v1.1-synthetic", "val", about, 0, 0, (), (), ""
    )
    folder = tmp_path / "world-shards" / "val"
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text(there.to_json())
    with pytest.raises(ShardError, match=r"0 sweeps and 0 superpixels .* delete it"):
        making.synthetic_shards("val")
    older = replace(there, dataset_version="v1.0-synthetic")
    (folder / MANIFEST).write_text(older.to_json())
    with pytest.raises(ShardError, match=r"v1\.0-synthetic, not v1\.1-synthetic; delete them"):
        making.synthetic_shards("val")
    about |= {"lidar_sweeps": world.lidar_sweeps, "superpixels": 40}
    (folder / MANIFEST).write_text(there.to_json())
    assert making.synthetic_shards("val") == str(folder)
    assert not world.out.exists(), "finished shards need no world"


def test_noise_is_the_only_raw_class_without_a_name() -> None:
    assert [raw for raw, number in scannet.NYU40.items() if not number] == [Raw.NOISE]
