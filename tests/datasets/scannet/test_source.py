"""Protects the ScanNet adapter: points, colors, labels, depth-tested pairs, and what it says of mistakes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datasets.scannet.classes import COLORS, TABLE, label_table, read_table
from datasets.scannet.source import ScanNet
from datasets.scannet.views import visible
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.io.ply import read_vertices
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from tests.made.scannet_tree import COLOR, DEPTH, NYU, SCENES, ScanNetTree, encode, loop, photos, ply, write

NATIVE = ReadOptions(image_size=DEPTH)
FRAMES = "scannet_frames_25k"


@pytest.fixture
def tree(tmp_path: Path) -> ScanNetTree:
    return ScanNetTree(tmp_path)


def quadruples(frame: Frame) -> list[tuple[int, ...]]:
    image, row, column = frame.pair_pixels.T.tolist()
    return list(zip(image, frame.pair_points.tolist(), row, column, strict=True))


@pytest.mark.parametrize("size", [DEPTH, (24, 40)])
def test_pairs_are_those_of_a_loop_with_the_depth_test(tree: ScanNetTree, size: tuple[int, int]) -> None:
    source = tree.source()
    for keyframe in source.list_samples():
        frame = source.read(keyframe, ReadOptions(image_size=size))
        pairs = loop(tree.root, keyframe.token, frame.points, size)
        assert quadruples(frame) == pairs
        assert {pair[0] for pair in pairs} == {0, 1, 2} and 20 < len(pairs) < 600


def test_real_points_with_photos_are_paired_as_by_a_loop(real_data: Path, tmp_path: Path) -> None:
    """300 points of the real room, as raw points, and photos made up for them."""
    for name in (TABLE, "scannetv2_train.txt", "scannetv2_val.txt"):
        write(tmp_path / "meta" / name, (real_data / "scannet/meta" / name).read_bytes())
    cloud = np.fromfile(real_data / "scannet/points/scene0000_00.bin", "<f4").reshape(-1, 6)[::136]
    write(tmp_path / "points/scene0000_00.bin", cloud.tobytes())
    photos(tmp_path / FRAMES / "scene0000_00", cloud[:, :3], np.random.default_rng(3))
    source = ScanNet(tmp_path)
    (keyframe,) = source.list_samples("train")
    frame = source.read(keyframe, NATIVE)
    pairs = loop(tmp_path, "scene0000_00", frame.points, DEPTH)
    assert quadruples(frame) == pairs and len(pairs) > 30


def test_the_real_points_are_read(real_data: Path) -> None:
    source = ScanNet(real_data / "scannet")
    (keyframe,) = source.list_samples("train")
    assert source.list_samples() == [keyframe]
    frame = source.read(keyframe, NATIVE)
    assert (frame.token, frame.scene, frame.points.shape) == ("scene0000_00", "scene0000_00", (40684, 3))
    assert (frame.labels, frame.images) == (None, ())
    raw = np.fromfile(real_data / "scannet/points/scene0000_00.bin", "<f4").reshape(-1, 6)
    assert np.array_equal(frame.points, raw[:, :3])
    assert np.allclose((frame.features + 1) * 127.5, raw[:, 3:], atol=1e-4)
    with pytest.raises(DataError, match=r"no scenes of scannetv2_val.txt; 1 scenes are in scans and points"):
        source.list_samples("val")


def test_the_depth_test_in_numbers() -> None:
    """A camera at the origin that looks along z, a wall 2 m away, nothing measured in column 0."""
    matrix = np.array([[8.0, 0, 4.5], [0, 8, 3.5], [0, 0, 1]])
    depth = np.full((8, 10), 2.0)
    depth[:, 0] = 0
    points = np.array(
        [
            [0, 0, 2.04],  # on the wall
            [0, 0, 1.96],
            [0, 0, 2.06],  # behind it
            [0, 0, 1.90],  # before it
            [0, 0, -2.0],  # behind the camera
            [-1.1125, 0, 2],  # u = 0.05: nothing was measured there
            [1.125, 0.875, 2],  # u = 9, v = 7: the last pixel
            [1.15, 0, 2],  # u = 9.1, outside
            [0.2375, 0.2375, 2],  # u = 5.45, v = 4.45, cut down to 5, 4
            [0.225, 0.3625, 2],  # u = 5.4, v = 4.95, cut down to 5, 4
        ],
        np.float32,
    )
    seen, pixels = visible(points, np.eye(4), matrix, depth)
    assert seen.tolist() == [0, 1, 6, 8, 9]
    assert pixels.tolist() == [[4, 3], [4, 3], [9, 7], [5, 4], [5, 4]]
    assert len(visible(points, np.eye(4), matrix, np.zeros((8, 10)))[0]) == 0


def test_photos_without_a_pose_are_left_out(tree: ScanNetTree) -> None:
    source = tree.source()
    keyframe = source.list_samples()[0]
    frame = source.read(keyframe, ReadOptions(image_size=COLOR))
    assert frame.cameras == ("view-000", "view-001", "view-002")
    kept = [tree.root / FRAMES / SCENES[0] / "color" / f"{number:06d}.jpg" for number in (0, 200, 300)]
    assert frame.images == tuple(path.read_bytes() for path in kept)
    for number in (0, 200, 300):
        write(tree.root / FRAMES / SCENES[0] / f"pose/{number:06d}.txt", "nan " * 16)
    frame = source.read(keyframe, NATIVE)
    assert (frame.cameras, len(frame.pair_points)) == ((), 0)


def test_colors_and_labels(tree: ScanNetTree) -> None:
    source = tree.source()
    keyframe = source.list_samples("val")[0]
    frame = source.read(keyframe, NATIVE)
    data = (tree.root / keyframe.points.replace(".ply", ".labels.ply")).read_bytes()
    vertices = read_vertices("x", data)
    assert frame.labels is not None and frame.labels.tolist() == [
        NYU[raw] for raw in vertices["label"].tolist()
    ]
    assert set(frame.labels.tolist()) == set(NYU.values())
    for number, name in enumerate(("red", "green", "blue")):
        assert np.allclose(frame.features[:, number], vertices[name] / 127.5 - 1, atol=1e-6)
        assert np.array_equal(frame.points[:, number], vertices["xyz"[number]])


def test_the_classes_are_those_of_the_benchmark(real_data: Path) -> None:
    """As listed in clip2scene.md 2.1 and 6.3, and named by the real label table."""
    listed = read_table(real_data / "scannet/meta" / TABLE)
    assert list(listed) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39]
    words = (
        "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, desk, curtain, "
        "refrigerator, shower curtain, toilet, sink, bathtub, other furniture"
    )
    vocabulary = ScanNet(real_data / "scannet").vocabulary
    assert [word[0] for word in vocabulary.words] == words.split(", ")
    assert label_table(listed)[list(listed)].tolist() == list(range(1, 21))


def test_a_tree_may_have_fewer_classes_under_other_names(tree: ScanNetTree) -> None:
    header = "id\traw_category\tcategory\tnyu40id\tnyu40class\n"
    write(
        tree.root / TABLE, header + "1\ta\ta\t5\ttree\n2\tb\tb\t1\troad\n3\tc\tc\t39\tcar\n4\td\td\t39\tcar\n"
    )
    write(tree.root / "prompts.json", json.dumps({"tree": ["tree", "bush"]}))
    source = tree.source()
    assert source.vocabulary.classes == ("road", "tree", "car") and source.vocabulary.name == "scannet-3"
    assert source.vocabulary.words == (("road",), ("tree", "bush"), ("car",))
    assert source.vocabulary.colors[1] == COLORS[5]
    with pytest.raises(FrameError, match=f"labels.ply has label 2, which {TABLE} does not list"):
        source.read(source.list_samples()[0], NATIVE)
    for scene in SCENES:
        path = tree.root / f"scans/{scene}/{scene}_vh_clean_2.labels.ply"
        points = np.zeros((400, 3))
        write(path, ply(points, points, np.resize([5, 1, 39, 0, 13], 400)))
    labels = source.read(source.list_samples()[0], NATIVE).labels
    assert labels is not None and labels[:5].tolist() == [2, 1, 3, 0, 0]


def test_splits_are_lists(tree: ScanNetTree) -> None:
    source = tree.source()
    assert [keyframe.token for keyframe in source.list_samples()] == list(SCENES)
    assert [keyframe.token for keyframe in source.list_samples("train")] == list(SCENES[:2])
    with pytest.raises(DataError, match="unknown split tset; known: train, val"):
        source.list_samples("tset")


def test_sweeps_are_refused(tree: ScanNetTree) -> None:
    with pytest.raises(ConfigError, match="no sweeps; use --lidar_sweeps 0, not 2"):
        tree.source().read(tree.source().list_samples()[0], ReadOptions(2, DEPTH))


# What is wrong with the tree as a whole


def test_a_wrong_root_says_what_is_there(tree: ScanNetTree) -> None:
    for root, reason in [
        (tree.root / "nowhere", "no folder .*nowhere; --root is the ScanNet folder"),
        (tree.root / "scans", f"--root is the folder above, {tree.root}"),
        (tree.root / FRAMES, "has no folder scans"),
    ]:
        with pytest.raises(DataError, match=reason) as caught:
            ScanNet(root)
        assert "\n" not in str(caught.value)


HEADER = "nyu40id\tnyu40class\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, f"no .*{TABLE}; put ScanNet's label table there"),
        ("a\tb\n1\t2\n", "is not ScanNet's label table: its tab-separated columns nyu40id and nyu40class"),
        (HEADER + "one\twall\n", "is not ScanNet's label table"),
        (HEADER + "1\n", "is not ScanNet's label table"),
        (HEADER + "1\twall\n1\tfloor\n", "calls nyu40id 1 both 'wall' and 'floor'"),
        (HEADER + "1\twall\n2\twall\n", "must give each benchmark class"),
        (HEADER + "13\tblinds\n", "must give each benchmark class"),
    ],
)
def test_a_wrong_label_table_is_refused(tree: ScanNetTree, text: str | None, reason: str) -> None:
    (tree.root / TABLE).unlink()
    if text is not None:
        write(tree.root / TABLE, text)
    with pytest.raises(DataError, match=reason) as caught:
        tree.source()
    assert "\n" not in str(caught.value)


# What is wrong with one scene


def refused(tree: ScanNetTree, reason: str) -> None:
    """The first scene is refused in one line, the others are fine."""
    source = tree.source()
    first, *others = source.list_samples()
    with pytest.raises(FrameError, match=reason) as caught:
        source.read(first, NATIVE)
    assert "\n" not in str(caught.value)
    for keyframe in others:
        source.read(keyframe, NATIVE)


MESH = f"scans/{SCENES[0]}/{SCENES[0]}_vh_clean_2.ply"
LABELS = MESH.replace(".ply", ".labels.ply")
PHOTOS = f"{FRAMES}/{SCENES[0]}"


@pytest.mark.parametrize(
    "name",
    [
        MESH,
        LABELS,
        *(f"{PHOTOS}/{name}" for name in ("depth/000200.png", "pose/000200.txt", "intrinsics_depth.txt")),
    ],
)
def test_a_missing_file_is_named(tree: ScanNetTree, name: str) -> None:
    (tree.root / name).unlink()
    refused(tree, f"{name} is missing under {tree.root}")


def test_a_scene_without_its_photos_is_refused_where_others_have_some(tree: ScanNetTree) -> None:
    (tree.root / PHOTOS).rename(tree.root / "away")
    refused(tree, f"{PHOTOS}/color under {tree.root} has no .jpg files")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"ply\n", b"plx\n", "is not a PLY file"),
        (b"end_header", b"end_heade_", "is not a PLY file, or truncated within its header"),
        (b"binary_little_endian", b"ascii", r"is truncated: \d+ bytes are not 400 vertices"),
        (b"binary_little_endian", b"binary_middle_endian", "has a bad PLY header"),
        (b"format", b"comment", "has a bad PLY header"),
        (b"vertex 400", b"vertex 9999", r"is truncated: \d+ bytes are not 9999 vertices"),
        (b"vertex 400", b"vertex 0", "is truncated"),
        (b"vertex 400", b"vertex -1", "has a bad PLY header|does not begin with vertices|is truncated"),
        (b"vertex 400", b"vertex many", "has a bad PLY header"),
        (b"element vertex", b"element vertices", "does not begin with vertices"),
        (b"float x", b"real x", "has a bad PLY header"),
        (b"property float x", b"property list uchar int x", "does not begin with vertices"),
        (b"uchar red", b"uchar r", "vertices without the property red"),
    ],
)
def test_a_broken_mesh_is_refused(tree: ScanNetTree, old: bytes, new: bytes, reason: str) -> None:
    data = (tree.root / MESH).read_bytes()
    assert data.count(old)
    write(tree.root / MESH, data.replace(old, new, 1))
    refused(tree, f"{MESH} .*({reason})")


def change(path: Path, edit: Callable[[np.ndarray], None]) -> None:
    """Edit the vertices of a mesh in place."""
    data = path.read_bytes()
    header, end, _ = data.partition(b"end_header\n")
    vertices = read_vertices("x", data).copy()
    edit(vertices)
    path.write_bytes(header + end + vertices.tobytes())


def test_a_mesh_cut_within_its_vertices_or_not_finite_is_refused(tree: ScanNetTree) -> None:
    path = tree.root / MESH
    path.write_bytes(path.read_bytes()[:-27])
    refused(tree, f"{MESH} is truncated: 6399 bytes are not 400 vertices")

    def lose(vertices: np.ndarray) -> None:
        vertices["y"][7] = np.inf

    change(tree.root / LABELS, lambda vertices: None)
    path.write_bytes((tree.root / LABELS).read_bytes())
    change(path, lose)
    refused(tree, f"{MESH} has points that are not finite")


@pytest.mark.parametrize("size", [0, 23, 24 * 300 - 4])
def test_truncated_raw_points_are_refused(tmp_path: Path, size: int) -> None:
    tree = ScanNetTree(tmp_path)
    cloud = np.full((300, 6), 300, "<f4")
    cloud[:, 0] = np.arange(300)
    write(tree.root / "points/scene0000_01.bin", cloud.tobytes()[:size])
    source = tree.source()
    (keyframe,) = [keyframe for keyframe in source.list_samples() if keyframe.points.endswith(".bin")]
    with pytest.raises(FrameError, match=f"points/scene0000_01.bin is truncated: {size} bytes"):
        source.read(keyframe, NATIVE)
    write(tree.root / "points/scene0000_01.bin", cloud.tobytes())
    with pytest.raises(FrameError, match="has colors that are not 0"):
        source.read(keyframe, NATIVE)


def test_labels_must_be_as_many_as_points_and_of_nyu40(tree: ScanNetTree) -> None:
    zeros = np.zeros((399, 3))
    write(tree.root / LABELS, ply(zeros, zeros, np.zeros(399)))
    refused(tree, f"{LABELS} has 399 labels, {MESH} 400 points")
    zeros = np.zeros((400, 3))
    write(tree.root / LABELS, ply(zeros, zeros, np.full(400, 41)))
    refused(tree, f"{LABELS} has label 41")
    write(tree.root / LABELS, (tree.root / MESH).read_bytes())
    refused(tree, f"{LABELS} has vertices without the property label")


def test_a_broken_pose_or_calibration_is_refused(tree: ScanNetTree) -> None:
    pose = tree.root / PHOTOS / "pose/000200.txt"
    kept = pose.read_text()
    write(pose, kept + " 1")
    refused(tree, "pose/000200.txt is not a 4x4 matrix")
    write(pose, kept.replace("0.0 0.0 0.0 1.0", "0.0 0.0 0.0 2.0"))
    refused(tree, "000200.jpg: the transform's last row")
    write(pose, kept)
    calibration = tree.root / PHOTOS / "intrinsics_depth.txt"
    write(calibration, calibration.read_text().replace("57.0", "0.0"))
    refused(tree, "the intrinsic matrix is singular")


def test_broken_and_resized_images_are_refused(tree: ScanNetTree) -> None:
    color, depth = tree.root / PHOTOS / "color/000200.jpg", tree.root / PHOTOS / "depth/000200.png"
    kept = color.read_bytes()
    color.write_bytes(kept[:-100])
    refused(tree, "color/000200.jpg: the image is truncated")
    color.write_bytes(encode(np.zeros((48, 48, 3), np.uint8), "JPEG"))
    refused(tree, r"color/000200.jpg is 48x48 pixels, which does not fit .*000200.png of \(64, 48\)")
    color.write_bytes(kept)
    whole = depth.read_bytes()
    depth.write_bytes(whole[:-300])
    refused(tree, "depth/000200.png: the image is truncated")
    depth.write_bytes(encode(np.zeros((24, 32), np.uint16), "PNG"))
    refused(tree, "000200.jpg: the image is 32x24 pixels, but the calibration has its centre at 32, 24")
    depth.write_bytes(encode(np.zeros((48, 64, 3), np.uint8), "PNG"))
    refused(tree, "which does not fit")
