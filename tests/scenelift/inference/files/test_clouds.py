"""Plain files of every format give the same cloud; odd ones are named in a sentence."""

from __future__ import annotations

from pathlib import Path

import laspy
import numpy as np
import pytest
from plyfile import PlyData, PlyElement
from pypcd4 import PointCloud

from scenelift.errors import DataError, SceneliftError
from scenelift.inference.files import clouds
from scenelift.inference.files.clouds import Chunk, CloudFile, features_of, find_clouds

RNG = np.random.default_rng(0)
POINTS = np.round(RNG.normal(0, 20, (300, 3)), 3)
INTENSITY = RNG.integers(0, 256, 300)
ROWS = np.concatenate([POINTS, INTENSITY[:, None]], 1).astype(np.float32)


def write_nuscenes(path: Path) -> None:
    np.concatenate([ROWS, RNG.integers(0, 32, (300, 1))], 1).astype("<f4").tofile(path)


def write_ply(path: Path, text: bool = False) -> None:
    names = [("x", "f8"), ("y", "f8"), ("z", "f8"), ("intensity", "u1")]
    vertices = np.array([(*p, i) for p, i in zip(POINTS, INTENSITY, strict=True)], names)
    PlyData([PlyElement.describe(vertices, "vertex")], text=text).write(str(path))


def write_las(path: Path) -> None:
    header = laspy.LasHeader(point_format=1, version="1.2")
    header.scales, header.offsets = np.full(3, 0.001), np.zeros(3)
    las = laspy.LasData(header)
    las.x, las.y, las.z = POINTS.T
    las.intensity = INTENSITY
    las.write(path)


def write_e57(path: Path) -> None:
    import pye57

    file = pye57.E57(str(path), mode="w")
    columns = dict(zip(("cartesianX", "cartesianY", "cartesianZ"), POINTS.T, strict=True))
    file.write_scan_raw(columns | {"intensity": INTENSITY.astype(np.float64)})
    file.close()


WRITERS = {
    "kitti.bin": lambda path: ROWS.astype("<f4").tofile(path),
    "nuscenes.pcd.bin": write_nuscenes,
    "nuscenes.bin": write_nuscenes,
    "rows.npy": lambda path: np.save(path, ROWS),
    "fields.npy": lambda path: np.save(
        path, np.array([tuple(row) for row in ROWS], [(name, "f4") for name in ("x", "y", "z", "intensity")])
    ),
    "named.npz": lambda path: np.savez(path, points=POINTS, intensity=INTENSITY, note=np.array("hello")),
    "one.npz": lambda path: np.savez(path, anything=ROWS),
    "binary.ply": write_ply,
    "text.ply": lambda path: write_ply(path, text=True),
    "ascii.pcd": lambda path: PointCloud.from_xyzi_points(ROWS).save(str(path)),
    "cloud.las": write_las,
    "cloud.laz": write_las,
    "cloud.e57": write_e57,
    "UPPER.PLY": write_ply,
}


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_gives_the_same_points_in_the_same_order(name, tmp_path, monkeypatch):
    monkeypatch.setattr(clouds, "CHUNK", 128)
    WRITERS[name](tmp_path / name)
    (file,) = find_clouds(tmp_path)
    assert name.startswith(file.name) and file == find_clouds(tmp_path / name)[0]
    chunks = list(file.chunks())
    points = np.concatenate([chunk.points for chunk in chunks])
    features = np.concatenate([features_of(chunk, 1, None, name) for chunk in chunks])
    np.testing.assert_allclose(points, POINTS, atol=2e-3)
    assert np.array_equal(features[:, 0], INTENSITY)


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"rows.npy", "UPPER.PLY"}))
def test_a_truncated_file_is_named(name, tmp_path):
    WRITERS[name](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2 + 1])
    with pytest.raises(SceneliftError, match=name):
        list(find_clouds(tmp_path / name)[0].chunks())


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.ply", "a.pcd", "a.las", "a.laz", "a.e57"])
@pytest.mark.parametrize("content", [b"", b"\0" * 200, b"not a point cloud\n" * 20])
def test_another_content_is_named(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneliftError, match=name):
        list(find_clouds(tmp_path / name)[0].chunks())


def test_an_empty_file_of_floats_is_an_empty_cloud(tmp_path):
    (tmp_path / "a.bin").touch()
    assert [len(chunk.points) for chunk in find_clouds(tmp_path)[0].chunks()] == [0]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: ROWS.astype("<f8").tofile(path), "float64"),
        (lambda path: np.tile(ROWS, (5, 1))[:, :3].tofile(path.with_suffix(".bin")), "--input.values 3"),
        (lambda path: path.write_bytes(b"abc"), "whole number"),
    ],
)
def test_floats_of_another_layout(write, message, tmp_path):
    write(tmp_path / "a.bin")
    with pytest.raises(DataError, match=message):
        list(find_clouds(tmp_path)[0].chunks())


def test_the_layout_of_floats_can_be_told(tmp_path):
    np.concatenate([ROWS, ROWS[:, :3]], 1).tofile(tmp_path / "a.bin")
    (chunk,) = find_clouds(tmp_path, width=7)[0].chunks()
    assert np.array_equal(chunk.points, ROWS[:, :3])
    assert list(chunk.columns) == ["intensity", "ring", "column_5", "column_6"]


def test_points_with_colors_are_not_taken_for_scans(real_data):
    """As four values a point they would be 61,026 points instead of 40,684, without a word."""
    place = real_data / "scannet" / "points"
    with pytest.raises(DataError, match=r"6 values.*--input\.values 6"):
        list(find_clouds(place)[0].chunks())
    (chunk,) = find_clouds(place, width=6)[0].chunks()
    assert len(chunk.points) == 40_684 and features_of(chunk, 3, None, "it").max() > 100


@pytest.mark.parametrize("width", [3, 4, 5, 6, 7])
def test_points_in_no_order_show_their_layout(tmp_path, width):
    """Also where a file of another width would have a whole number of points."""
    rng = np.random.default_rng(width)
    rows = rng.uniform(
        [-40, -40, -2, *[0] * (width - 3)], [40, 40, 3, *[1, 32, 255, 9][: width - 3]], (4200, width)
    )
    rows.astype("<f4").tofile(tmp_path / "a.bin")
    if width in (4, 5):
        assert sum(len(chunk.points) for chunk in find_clouds(tmp_path)[0].chunks()) == 4200
    else:
        with pytest.raises(DataError, match=f"--input.values {width}"):
            list(find_clouds(tmp_path)[0].chunks())


def test_hidden_files_and_others_are_no_clouds(tmp_path):
    for name in ("._a.ply", "a.txt", "b/c.npy", "b/.d.npy", "e_lidarseg.bin", "f_panoptic.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / "b" / "c", ROWS) if name == "b/c.npy" else (tmp_path / name).touch()
    assert [file.name for file in find_clouds(tmp_path)] == ["b/c"]
    with pytest.raises(DataError, match="no point clouds: known are"):
        (tmp_path / "empty").mkdir()
        find_clouds(tmp_path / "empty")
    with pytest.raises(DataError, match="is no point cloud"):
        find_clouds(tmp_path / "a.txt")


def test_one_name_in_two_formats_would_be_one_label_file(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    write_ply(tmp_path / "a.ply")
    with pytest.raises(DataError, match="a in two formats"):
        find_clouds(tmp_path)


@pytest.mark.parametrize(
    ("columns", "count", "wanted", "found"),
    [
        ({"intensity": 1, "ring": 2}, 1, None, [1]),
        ({"Reflectance": 1, "ring": 2}, 1, None, [1]),
        ({"red": 1, "green": 2, "blue": 3, "intensity": 4}, 3, None, [1, 2, 3]),
        ({"a": 1, "b": 2}, 2, None, [1, 2]),
        ({"a": 1, "b": 2}, 1, ("B",), [2]),
        ({}, 2, ("zeros",), [0, 0]),
        ({}, 0, None, []),
    ],
)
def test_features_are_the_obvious_columns_or_the_named_ones(columns, count, wanted, found):
    chunk = Chunk(np.zeros((2, 3)), {name.lower(): np.full(2, value) for name, value in columns.items()})
    assert features_of(chunk, count, wanted, "a").tolist() == [found] * 2


@pytest.mark.parametrize(
    ("columns", "count", "wanted", "message"),
    [
        ({"a": 1, "b": 2}, 1, None, "wants 1 features a point, and it has the columns a, b; choose with"),
        ({}, 1, None, "none beside x, y, z"),
        ({"a": 1}, 1, ("c",), "no column c; its columns: a"),
        ({"a": 1, "b": 2}, 1, ("a", "b"), "wants 1"),
    ],
)
def test_features_that_are_not_there(columns, count, wanted, message):
    chunk = Chunk(np.zeros((2, 3)), {name: np.full(2, value) for name, value in columns.items()})
    with pytest.raises(DataError, match=message):
        features_of(chunk, count, wanted, "it")


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.ply")
    with pytest.raises(SceneliftError, match="pipe"):
        list(CloudFile(tmp_path / "a.ply", "a").chunks())
