"""Voxelisation, augmentation and the index algebra of a batch, against brute force."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from scenelift.errors import ConfigError, DataError
from scenelift.points.augmentation import augment
from scenelift.points.collate import Collate, voxelise
from scenelift.points.config import NO_AUGMENTATION, Augmentation, VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.images import decode
from tests.made.frames import made_up_frame

OPTIONS = ReadOptions(lidar_sweeps=2, image_size=(8, 12))


def frames(count=3, **kwargs):
    return [made_up_frame(f"frame-{i:05d}", OPTIONS, **kwargs) for i in range(count)]


def test_voxelise_equals_a_dictionary():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 2, (500, 3)).astype(np.float32)
    features = rng.uniform(0, 255, (500, 1)).astype(np.float32)
    size = np.float32(0.5)
    cells, voxel_features, inverse = voxelise(points, features, VoxelConfig(0.5, "first"))
    lowest = np.floor(points / size).astype(int).min(0)
    first: dict[tuple, int] = {}
    for i, point in enumerate(points):
        first.setdefault(tuple(np.floor(point / size).astype(int) - lowest), i)
    assert [tuple(c) for c in cells.tolist()] == sorted(first)
    for i, point in enumerate(points):
        cell = tuple(np.floor(point / size).astype(int) - lowest)
        assert tuple(cells[inverse[i]]) == cell
        assert voxel_features[inverse[i], 0] == features[first[cell], 0]


def test_an_offset_tells_a_point_without_remission_from_no_point():
    points, features = np.eye(3, dtype=np.float32), np.array([[0.0], [0.5], [1.0]], np.float32)
    shifted = voxelise(points, features, VoxelConfig(0.5, feature_scale=0.5, feature_offset=1.0))[1]
    plain = voxelise(points, features, VoxelConfig(0.5, feature_scale=0.5))[1]
    assert sorted(shifted.ravel()) == [1.0, 1.25, 1.5] and np.array_equal(shifted, plain + 1)


def test_cylindrical_voxels_equal_a_dictionary():
    points = np.random.default_rng(0).normal(0, 20, (3000, 3)).astype(np.float32)
    points[:3] = [[0, 0, 0], [-5, 0, 1], [-5, -0.0, 1]]  # the sensor itself, and where the angle jumps
    features = np.arange(3000, dtype=np.float32)[:, None]
    cells, made, inverse = voxelise(points, features, VoxelConfig(0.7, grid="cylindrical"))
    keys = []
    for x, y, z in points.astype(np.float64):
        place = (math.hypot(x, y) / 0.7, math.degrees(math.atan2(y, x)), z / 0.7)
        keys.append(tuple(math.floor(value) for value in place))
    lowest = np.array(keys).min(0)
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    assert [tuple(cell) for cell in (cells + lowest).tolist()] == sorted(first)
    assert made[:, 0].tolist() == [first[key] for key in sorted(first)]
    assert all(tuple(cells[voxel] + lowest) == key for voxel, key in zip(inverse, keys, strict=True))
    assert np.ptp(cells, axis=0)[1] <= 360


def test_a_real_cloud_has_the_cylindrical_voxels_that_slidrs_code_makes(real_nuscenes):
    """17,885 cartesian and 15,947 cylindrical ones, counted with SLidR's own formula."""
    (path,) = (real_nuscenes / "samples/LIDAR_TOP").glob("*.bin")
    points = np.fromfile(path, np.float32).reshape(-1, 5)[:, :3]
    counts = [
        len(voxelise(points, points[:, :1], VoxelConfig(0.1, grid=grid))[0])
        for grid in ("cartesian", "cylindrical")
    ]
    assert counts == [17_885, 15_947]


def test_geometry_features_are_means_over_a_voxels_points():
    points = np.array([[0.1, 0.1, 0.1], [0.2, 0.2, 0.3], [1.1, 0, -0.3]], np.float32)
    features = np.array([[10.0], [30.0], [50.0]], np.float32)
    _, made, inverse = voxelise(points, features, VoxelConfig(0.5, "geometry", feature_scale=0.1))
    assert inverse.tolist() == [0, 0, 1]
    assert np.allclose(made[0], [2.0, 0.2, 0.2, np.log(3)], atol=1e-6)
    assert np.allclose(made[1], [5.0, -0.3, 0.2, np.log(2)], atol=1e-6)
    assert VoxelConfig(features="geometry").channels(1) == made.shape[1]


def test_an_empty_cloud_has_no_voxels():
    for kind in ("first", "geometry"):
        cells, features, inverse = voxelise(
            np.zeros((0, 3), np.float32), np.zeros((0, 1), np.float32), VoxelConfig(0.1, kind)
        )
        assert cells.shape == (0, 3)
        assert len(features) == len(inverse) == 0


def test_a_voxel_needs_a_size():
    with pytest.raises(ConfigError, match="size must be more than 0"):
        VoxelConfig(size=0)


def test_augmentation_keeps_heights_and_distances():
    points = np.random.default_rng(0).normal(0, 5, (100, 3)).astype(np.float32)
    moved = augment(points, Augmentation(), np.random.default_rng(1))
    assert np.allclose(moved[:, 2], points[:, 2])
    assert np.allclose(np.linalg.norm(moved[:, :2], axis=1), np.linalg.norm(points[:, :2], axis=1), rtol=1e-4)
    assert not np.allclose(moved, points)
    assert np.array_equal(augment(points, NO_AUGMENTATION, np.random.default_rng(1)), points)


def test_a_pairs_voxel_is_the_voxel_of_its_point():
    """clip2scene.md 9, point 5, across sweeps and samples."""
    given = frames()
    size = 1.5
    batch = Collate(VoxelConfig(size), Augmentation(rotate=False, flip=False, lidar_sweeps=2))(given)
    pair = rows = 0
    clouds = int(batch.point_cloud.max()) + 1
    assert clouds == 9
    for cloud in range(clouds):
        frame = given[cloud // 3]
        of_cloud = batch.point_cloud == cloud
        sweep = next(
            k
            for k in range(3)
            if int(of_cloud.sum()) == (frame.sweep == k).sum() and _is_cloud(batch, cloud, frame, k, size)
        )
        if cloud % 3 == 0:
            assert sweep == 0, "the keyframe comes first"
        mine = np.flatnonzero(frame.sweep == sweep)
        place = {point: rows + i for i, point in enumerate(mine)}
        for point, pixel in zip(frame.pair_points, frame.pair_pixels, strict=True):
            if point in place:
                assert batch.pair_points[pair] == place[point]
                assert batch.pair_voxel[pair] == batch.point_voxel[place[point]]
                assert batch.pair_pixels[pair].tolist() == [pixel[0] + 2 * (cloud // 3), *pixel[1:]]
                pair += 1
        rows += len(mine)
    assert pair == len(batch.pair_points)
    assert rows == len(batch.point_voxel)


def _is_cloud(batch, cloud, frame, sweep, size):
    cells = np.floor(frame.points[frame.sweep == sweep] / np.float32(size)).astype(int)
    got = batch.voxels.sites.coords[batch.point_voxel[batch.point_cloud == cloud]].numpy()
    return bool((got[:, 0] == cloud).all() and (got[:, 1:] == cells - cells.min(0)).all())


def test_labels_and_images_come_in_order():
    given = frames()
    batch = Collate(VoxelConfig(1.0))(given)
    want = np.concatenate([f.labels[f.keyframe] for f in given])
    assert batch.labels.tolist() == want.tolist()
    assert batch.images.shape == (6, 3, 8, 12)
    assert np.array_equal(batch.images[5].permute(1, 2, 0).numpy(), decode(given[2].images[1]))
    assert batch.tokens == tuple(f.token for f in given)


def test_a_batch_can_be_made_again():
    """What is random follows from seed, epoch and frame: neighbours and call order do not matter."""
    collate = Collate(VoxelConfig(1.0), Augmentation(lidar_sweeps=1), seed=3)
    one, two = frames(2)
    alone, together = collate([two], 5), collate([one, two], 5)
    last = together.voxels.sites.coords[:, 0] >= 2
    assert torch.equal(alone.voxels.sites.coords[:, 1:], together.voxels.sites.coords[last][:, 1:])
    assert not torch.equal(alone.voxels.sites.coords, collate([two], 6).voxels.sites.coords)
    other = Collate(VoxelConfig(1.0), Augmentation(lidar_sweeps=1), seed=4)([two], 5)
    assert not torch.equal(alone.voxels.sites.coords, other.voxels.sites.coords)


def test_more_sweeps_than_the_shards_hold_are_refused():
    with pytest.raises(DataError, match="--lidar_sweeps"):
        Collate(VoxelConfig(), Augmentation(lidar_sweeps=3))(frames(1))


@pytest.mark.parametrize(("points", "dropped"), [(6000, True), (900, False)])
def test_a_cuboid_is_dropped_with_its_pairs_unless_a_photo_keeps_too_few(points, dropped):
    frame = made_up_frame("frame-00002", ReadOptions(image_size=(8, 12)), points)
    still = Augmentation(rotate=False, flip=False)
    whole = Collate(VoxelConfig(0.1), still)([frame])
    rest = Collate(VoxelConfig(0.1), replace(still, drop_cuboid=0.9), seed=5)([frame])
    assert (len(rest.point_voxel) < len(whole.point_voxel)) == dropped
    assert (len(rest.pair_points) < len(whole.pair_points)) == dropped
    assert not dropped or torch.bincount(rest.pair_pixels[:, 0]).min() >= 1024
    before, after = (
        Counter((*pixel, label) for *pixel, label in torch.column_stack((made.pair_pixels, named)).tolist())
        for made in (whole, rest)
        for named in (made.labels[made.pair_points],)
    )
    assert after <= before, "the other pairs are of the points that they were of"


def test_frames_without_points_make_an_empty_batch():
    frame = made_up_frame("frame-00004", ReadOptions(image_size=(8, 12)), points=1)
    none = np.zeros(len(frame.points), bool)
    empty = type(frame)(
        **{
            **frame.__dict__,
            "points": frame.points[none],
            "features": frame.features[none],
            "sweep": frame.sweep[none],
            "labels": frame.labels[none],
            "pair_points": frame.pair_points[:0],
            "pair_pixels": frame.pair_pixels[:0],
        }
    )
    batch = Collate(VoxelConfig())([empty, empty])
    assert len(batch.voxels.sites) == 0
    assert len(batch.pair_points) == 0
