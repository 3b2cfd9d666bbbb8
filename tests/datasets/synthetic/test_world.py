"""The synthetic world is what it says: rays meet the nearest surface, labels fit it, sensors agree."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.synthetic import render
from datasets.synthetic.capture import REFLECTANCE, photograph, regions, scan
from datasets.synthetic.classes import CATEGORIES, OBJECTS, Raw
from datasets.synthetic.config import PRESETS
from datasets.synthetic.primitives import Kind, Solids, normals
from datasets.synthetic.render import GROUND, trace
from datasets.synthetic.scene import Scene, stream
from datasets.synthetic.sensors import build_rig
from datasets.synthetic.world import build

DEMO, TINY = PRESETS["demo"], PRESETS["tiny"]
NAMES = {name for _, name, _ in CATEGORIES.values() if name}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build(DEMO, "scene-0003")


def _one(kind: Kind, rng: np.random.Generator) -> Solids:
    yaw = rng.uniform(-3, 3)
    return Solids(
        np.array([kind], np.uint8),
        rng.uniform(-2, 2, (1, 3)).astype(np.float32) + np.array([[6, 0, 0]], np.float32),
        rng.uniform(0.4, 2.0, (1, 3)).astype(np.float32),
        np.cos([yaw]).astype(np.float32),
        np.sin([yaw]).astype(np.float32),
    )


def _is_inside(solids: Solids, points: np.ndarray) -> np.ndarray:
    """By definition of the shapes, in float64."""
    cos, sin = float(solids.cos[0]), float(solids.sin[0])
    x, y, z = np.moveaxis(points - solids.centre[0].astype(np.float64), -1, 0)
    u, v, w = np.stack((cos * x + sin * y, cos * y - sin * x, z)) / solids.half[0][:, None, None]
    radius, upright = np.hypot(u, v), np.abs(w) <= 1
    return {
        Kind.BOX: (np.abs(u) <= 1) & (np.abs(v) <= 1) & upright,
        Kind.CYLINDER: (radius <= 1) & upright,
        Kind.CONE: (radius <= (1 - w) / 2) & upright,
        Kind.ELLIPSOID: radius**2 + w**2 <= 1,
    }[Kind(solids.kind[0])]


@pytest.mark.parametrize("kind", list(Kind))
def test_rays_enter_a_solid_where_marching_along_them_first_finds_it(kind: Kind) -> None:
    rng, steps = np.random.default_rng(int(kind)), np.arange(0.0, 15, 0.004)
    for _ in range(5):
        solids = _one(kind, rng)
        rays = rng.normal((1, 0, 0), 0.3, (60, 3))
        rays = (rays / np.linalg.norm(rays, axis=1, keepdims=True)).astype(np.float32)
        inside = _is_inside(solids, rays[:, None] * steps[:, None])
        marched = np.where(inside.any(1), steps[inside.argmax(1)], np.inf)
        entered = solids.enter(0, rays.T)
        agree = np.isclose(entered, marched, atol=0.01) | (entered == marched)
        grazing = inside.sum(1) < 30  # a few centimetres inside: marching may miss it
        assert (agree | grazing).all()
        assert np.isfinite(entered).any()


@pytest.mark.parametrize("kind", list(Kind))
def test_normals_are_unit_and_face_the_rays_that_enter(kind: Kind) -> None:
    rng = np.random.default_rng(7)
    solids = _one(kind, rng)
    rays = rng.normal((1, 0, 0), 0.25, (300, 3)).astype(np.float32)
    t = solids.enter(0, rays.T)
    rays, t = rays[np.isfinite(t)], t[np.isfinite(t)]
    part = np.zeros(len(t), np.intp)
    local = solids.to_local(rays * t[:, None] - solids.centre[part], part)
    normal = normals(solids.kind[part], local, solids.half[part])
    assert np.allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    assert ((normal * solids.to_local(rays, part)).sum(1) < 1e-3).all()


@pytest.mark.parametrize("sensor", ["lidar", "CAM_FRONT", "CAM_BACK"])
def test_windows_and_order_lose_nothing(sensor: str) -> None:
    """Brute force: every solid against every ray gives the same depth and the same part."""
    for name in ("scene-0001", "scene-0002"):
        scene, rig = build(TINY, name), build_rig(TINY, name)
        device = next((camera for camera in rig.cameras if camera.channel == sensor), rig.lidar)
        pose = device.mount.then(scene.ego_pose(0.2))
        hits = trace(scene, device, pose, 0.2)
        reach = np.linalg.norm(hits.solids.centre, axis=1) - np.linalg.norm(hits.solids.half, axis=1)
        depth = np.stack([hits.solids.enter(part, hits.rays) for part in range(len(scene.owner))])
        depth[reach > render.FAR] = np.inf
        ground = scene.street.enter(pose.translation, hits.rays.reshape(3, -1), render.FAR)
        expected = np.minimum(depth.min(0), ground.reshape(hits.t.shape))
        np.testing.assert_array_equal(hits.t, expected)
        solid = hits.part >= 0
        assert solid.any() and (hits.part == GROUND).any()
        rows, columns = np.nonzero(solid)
        np.testing.assert_array_equal(depth[hits.part[solid], rows, columns], hits.t[solid])


def test_ground_points_lie_on_the_height_field_with_its_label(scene: Scene) -> None:
    rig = build_rig(DEMO, scene.name)
    pose = rig.lidar.mount.then(scene.ego_pose(0.0))
    hits = trace(scene, rig.lidar, pose, 0.0)
    ground = hits.part == GROUND
    x, y, z = hits.positions(ground).astype(np.float64).T + pose.translation[:, None]
    flat = (np.abs(scene.street.beyond(x, y)) > 0.02) & (np.hypot(x, y) < 40)  # off the kerb
    assert flat.sum() > 3000
    assert np.abs(z - scene.street.height(x, y))[flat].max() < 0.05
    labels = hits.raw()[ground]
    assert {int(Raw.ROAD), int(Raw.SIDEWALK)} <= set(labels.tolist())
    assert (labels == scene.street.raw(x, y))[flat].mean() > 0.99


def test_a_scene_depends_on_seed_and_name_alone() -> None:
    first = build(DEMO, "scene-0005")
    same = build(replace(DEMO, train_scenes=7, workers=3, val_scenes=0), "scene-0005")
    other_name, other_seed = build(DEMO, "scene-0006"), build(replace(DEMO, seed=1), "scene-0005")
    assert np.array_equal(first.color, same.color) and np.array_equal(first.raw, same.raw)
    assert np.array_equal(first.poses(1.0)[0], same.poses(1.0)[0])
    for other in (other_name, other_seed):
        assert first.color.shape != other.color.shape or not np.array_equal(first.color, other.color)


def test_scans_hold_most_classes_and_no_class_is_rare_overall() -> None:
    counts = []
    for number in range(1, 13):
        scene = build(DEMO, f"scene-{number:04d}")
        lidar = build_rig(DEMO, scene.name).lidar
        counts.append(np.bincount(scan(scene, lidar, 0.5, stream(0, scene.name)).raw, minlength=32))
    classes = sorted(REFLECTANCE)
    shares = np.sum(counts, 0) / np.sum(counts)
    assert (np.array(counts)[:, classes] > 0).sum(1).min() >= 8
    assert shares[classes].min() > 0.003 and shares.max() < 0.5
    assert 0.0005 < shares[Raw.NOISE] < 0.005
    assert shares[[Raw.BUS, Raw.TRUCK]].min() > 0.02


def test_a_scan_is_a_lidar_cloud(scene: Scene) -> None:
    lidar = build_rig(DEMO, scene.name).lidar
    cloud = scan(scene, lidar, 0.0, np.random.default_rng(0))
    points, ring = cloud.points, cloud.points[:, 4]
    assert points.dtype == np.float32 and points.shape == (len(cloud.raw), 5)
    assert 10_000 < len(points) < DEMO.sensors.beams * DEMO.sensors.azimuths
    assert set(ring.tolist()) == set(range(DEMO.sensors.beams))
    assert points[:, 3].min() >= 0 and points[:, 3].max() <= 255
    elevation = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    assert np.allclose(elevation, lidar.elevations[ring.astype(int)], atol=1e-4)
    again = scan(scene, lidar, 0.0, np.random.default_rng(0))
    assert np.array_equal(points, again.points) and np.array_equal(cloud.raw, again.raw)


def test_cameras_see_the_class_that_the_lidar_hits(scene: Scene) -> None:
    """LiDAR points, carried through both calibrations into an image, land on pixels of their class."""
    rig = build_rig(DEMO, scene.name)
    cloud = scan(scene, rig.lidar, 0.0, np.random.default_rng(0))
    ego = cloud.points[:, :3] @ rig.lidar.mount.rotation.T + rig.lidar.mount.translation
    for camera in rig.cameras:
        photo = photograph(scene, camera, 0.0, np.random.default_rng(0))
        seen = (ego - camera.mount.translation) @ camera.mount.rotation
        pixel = seen @ camera.intrinsic.T
        column, row = np.rint(pixel[:, :2] / pixel[:, 2:]).T
        height, width = camera.size
        inside = (seen[:, 2] > 1) & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        inside &= cloud.raw != Raw.NOISE
        found = photo.raw[row[inside].astype(int), column[inside].astype(int)]
        assert inside.sum() > 1000
        assert (found == cloud.raw[inside]).mean() > 0.85


def test_things_move_between_keyframes(scene: Scene) -> None:
    before, after = scene.poses(0.0)[0], scene.poses(0.5)[0]
    moved = np.linalg.norm(after - before, axis=1) > 0.1
    assert np.array_equal(moved, scene.moving) and moved.any() and not moved.all()
    assert np.linalg.norm(scene.ego_pose(0.5).translation - scene.ego_pose(0.0).translation) > 1


def test_nothing_drives_or_stands_in_the_ego_vehicle() -> None:
    for number in range(1, 16):
        scene = build(DEMO, f"scene-{number:04d}")
        for time in (-0.2, 0.5, 1.5):
            centre, size = scene.boxes()
            position, yaw = scene.poses(time)
            away = scene.ego_pose(time).translation - position
            x = np.cos(yaw) * away[:, 0] + np.sin(yaw) * away[:, 1] - centre[:, 0]
            y = np.cos(yaw) * away[:, 1] - np.sin(yaw) * away[:, 0] - centre[:, 1]
            gap = np.hypot(*np.maximum(np.abs([x, y]) - size[:, :2].T / 2, 0))
            assert gap[scene.boxed].min() > 0.8


def test_photographs_are_neither_flat_nor_told_apart_by_color(scene: Scene) -> None:
    photos = []
    for number in (1, 2, 3):
        named = build(DEMO, f"scene-{number:04d}")
        camera = build_rig(DEMO, named.name).cameras[0]
        photos.append(photograph(named, camera, 0.0, np.random.default_rng(0)))
    for photo in photos:
        assert photo.image.shape == (112, 192, 3) and photo.image.std() > 20
    pixels = np.concatenate([photo.image.reshape(-1, 3) for photo in photos]).astype(int) // 32
    classes = np.concatenate([photo.raw.ravel() for photo in photos])
    table = np.zeros((512, 32), int)
    np.add.at(table, (pixels @ np.array([64, 8, 1]), classes), 1)
    assert table.max(1).sum() / len(classes) < 0.8  # the best guess from the color alone


def test_regions_caption_what_they_show(scene: Scene) -> None:
    camera = build_rig(DEMO, scene.name).cameras[0]
    photo = photograph(scene, camera, 0.0, np.random.default_rng(0))
    found = regions(scene, photo, np.random.default_rng(0))
    objects = {CATEGORIES[raw][1]: int(raw) for raw in OBJECTS}
    indices = {name: int(raw) for raw, (_, name, _) in CATEGORIES.items()}
    assert 24 < len(found) <= 48
    for r0, c0, r1, c1, names in found:
        assert 0 <= r0 < r1 <= 112 and 0 <= c0 < c1 <= 192 and set(names) <= NAMES and names
        window = photo.raw[r0:r1, c0:c1]
        shares = [(window == indices[name]).mean() for name in names]
        assert shares == sorted(shares, reverse=True)
        if len(names) > 1 or names[0] not in objects:
            assert min(shares) > 0.15
        else:
            assert min(r1 - r0, c1 - c0) >= 4 and shares[0] > 0
    assert any(names[0] in objects for *_, names in found)


def test_visibility_is_the_share_of_the_outline_that_nothing_hides(scene: Scene) -> None:
    camera = build_rig(DEMO, scene.name).cameras[0]
    pose = camera.mount.then(scene.ego_pose(0.0))
    hits = trace(scene, camera, pose, 0.0, outlines=True)
    assert hits.visible and all(scene.boxed[thing] for thing in hits.visible)
    for thing, share in hits.visible.items():
        outline = np.isfinite(hits.solids.enter(int(scene.main[thing]), hits.rays))
        assert share == pytest.approx((hits.thing[outline] == thing).mean())
