"""Writing a scene in nuScenes' layout: its sensor files by channel, and its rows of the tables.

One process writes one scene and returns its rows; `datasets.synthetic.tables` joins those of all scenes.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from datasets.synthetic.capture import Photo, Region, Scan, photograph, regions, scan
from datasets.synthetic.classes import CATEGORIES, Raw
from datasets.synthetic.config import KEYFRAME_INTERVAL, SPLITS, SWEEP_INTERVAL, WorldConfig
from datasets.synthetic.scene import Pose, Scene, stream, yaw_pose
from datasets.synthetic.sensors import Camera, Lidar, build_rig
from datasets.synthetic.tables import LIDAR, TABLES, VISIBILITIES, Row, SceneRecord, Tokens, chain, quaternion
from datasets.synthetic.tables import folders as folders
from datasets.synthetic.tables import save as save
from datasets.synthetic.world import build

_START = 1_600_000_000_000_000
"""Timestamp 0 of the world, microseconds; scenes start 1,000 s apart by number."""


def write_scene(config: WorldConfig, name: str) -> SceneRecord:
    """Render one scene and write its files below `config.out`, whose `folders` must exist."""
    writer = _SceneWriter(config, name)
    for frame in range(config.frames_per_scene):
        writer.keyframe(frame)
    writer.finish()
    return SceneRecord(name, writer.tables, writer.regions, writer.points)


class _SceneWriter:
    """Writes the files of one scene and collects its rows."""

    def __init__(self, config: WorldConfig, name: str):
        number = int(name.rpartition("-")[2])
        self.config, self.name = config, name
        self.split = next(split for split, numbers in SPLITS.items() if number in numbers)
        self.start = _START + number * 1_000_000_000
        self.scene: Scene = build(config, name)
        self.rig = build_rig(config, name)
        self.world, self.tokens = Tokens(config), Tokens(config, name)
        self.tables: dict[str, list[Row]] = {table: [] for table in TABLES}
        self.regions: dict[str, list[Region]] = {}
        self.points = np.zeros(32, np.int64)
        self._boxes = self.scene.boxes()
        self._calibrate(LIDAR, self.rig.lidar, [])
        for camera in self.rig.cameras:
            self._calibrate(camera.channel, camera, camera.intrinsic.tolist())

    def keyframe(self, frame: int) -> None:
        """One keyframe: the sweeps before it, its LiDAR turn, its photographs, its boxes."""
        time, sample = frame * KEYFRAME_INTERVAL, self.tokens("sample", str(frame))
        for back in range(self.config.lidar_sweeps, 0, -1):
            self._lidar(sample, time - back * SWEEP_INTERVAL, key=False)
        cloud = self._lidar(sample, time, key=True)
        self.points += np.bincount(cloud.raw, minlength=32)
        photos = [self._photo(sample, camera, time + camera.delay) for camera in self.rig.cameras]
        self.tables["sample"].append(
            {"token": sample, "timestamp": self._stamp(time), "scene_token": self.tokens("scene")}
        )
        self._annotate(sample, time, cloud, photos)

    def finish(self) -> None:
        """Link consecutive rows, and add the rows of the scene and its instances."""
        samples = self.tables["sample"]
        chain(samples)
        for channel in (LIDAR, *self.config.cameras):
            chain([row for row in self.tables["sample_data"] if f"/{channel}/" in row["filename"]])
        self._instances()
        self.tables["scene"].append(
            {
                "token": self.tokens("scene"),
                "log_token": self.world("log", self.split),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": self.name,
                "description": f"synthetic street for {self.split}",
            }
        )

    def _calibrate(self, channel: str, sensor: Camera | Lidar, intrinsic: list[list[float]]) -> None:
        self.tables["calibrated_sensor"].append(
            {
                "token": self.tokens("calibration", channel),
                "sensor_token": self.world("sensor", channel),
                "translation": sensor.mount.translation.tolist(),
                "rotation": quaternion(sensor.mount.rotation),
                "camera_intrinsic": intrinsic,
            }
        )

    def _stamp(self, time: float) -> int:
        return self.start + round(time * 1e6)

    def _lidar(self, sample: str, time: float, key: bool) -> Scan:
        stamp = self._stamp(time)
        cloud = scan(self.scene, self.rig.lidar, time, stream(self.config.seed, self.name, LIDAR, str(stamp)))
        token = self._sensor_data(sample, LIDAR, time, key, cloud.points.astype("<f4").tobytes())
        if key:
            file = f"lidarseg/{self.config.version}/{token}_lidarseg.bin"
            (self.config.out / file).write_bytes(cloud.raw.tobytes())
            self.tables["lidarseg"].append({"token": token, "sample_data_token": token, "filename": file})
        return cloud

    def _photo(self, sample: str, camera: Camera, time: float) -> Photo:
        rng = stream(self.config.seed, self.name, camera.channel, str(self._stamp(time)))
        photo = photograph(self.scene, camera, time, rng)
        jpeg = io.BytesIO()
        Image.fromarray(photo.image).save(jpeg, "JPEG", quality=92)
        self._sensor_data(sample, camera.channel, time, True, jpeg.getvalue())
        if self.split == "teacher":
            self.regions[self.tables["sample_data"][-1]["filename"]] = regions(self.scene, photo, rng)
        return photo

    def _sensor_data(self, sample: str, channel: str, time: float, key: bool, content: bytes) -> str:
        """Write a sensor's file with its rows of sample_data and ego_pose; returns their token."""
        stamp, camera = self._stamp(time), channel != LIDAR
        token = self.tokens("data", channel, str(stamp))
        height, width = self.config.sensors.image_size if camera else (0, 0)
        ending = "jpg" if camera else "pcd.bin"
        folder = "samples" if key else "sweeps"
        file = f"{folder}/{channel}/synthetic-{self.split}__{channel}__{stamp}.{ending}"
        (self.config.out / file).write_bytes(content)
        self.tables["sample_data"].append(
            {
                "token": token,
                "sample_token": sample,
                "ego_pose_token": token,
                "calibrated_sensor_token": self.tokens("calibration", channel),
                "timestamp": stamp,
                "fileformat": "jpg" if camera else "pcd",
                "is_key_frame": key,
                "height": height,
                "width": width,
                "filename": file,
            }
        )
        pose = self.scene.ego_pose(time).then(self.scene.place)
        self.tables["ego_pose"].append(
            {
                "token": token,
                "timestamp": stamp,
                "translation": pose.translation.tolist(),
                "rotation": quaternion(pose.rotation),
            }
        )
        return token

    def _annotate(self, sample: str, time: float, cloud: Scan, photos: list[Photo]) -> None:
        """Boxes of the things with at least one LiDAR point."""
        hits = np.bincount(cloud.thing[cloud.thing >= 0], minlength=len(self.scene.raw))
        for thing in np.flatnonzero(self.scene.boxed & (hits > 0)).tolist():
            pose = self._box(thing, time)
            length, width, height = self._boxes[1][thing].tolist()
            share = max((photo.visible.get(thing, 0.0) for photo in photos), default=0.0)
            self.tables["sample_annotation"].append(
                {
                    "token": self.tokens("annotation", sample, str(thing)),
                    "sample_token": sample,
                    "instance_token": self.tokens("instance", str(thing)),
                    "visibility_token": next(token for token, _, top in VISIBILITIES if share <= top),
                    "attribute_tokens": self._attributes(thing),
                    "translation": pose.translation.tolist(),
                    "rotation": quaternion(pose.rotation),
                    "size": [width, length, height],
                    "num_lidar_pts": int(hits[thing]),
                    "num_radar_pts": 0,
                }
            )

    def _box(self, thing: int, time: float) -> Pose:
        """Global pose of the box around a thing."""
        position, yaw = self.scene.poses(time)
        centre = Pose(self._boxes[0][thing], np.eye(3))
        x, y, z = position[thing].tolist()
        return centre.then(yaw_pose(x, y, z, float(yaw[thing]))).then(self.scene.place)

    def _attributes(self, thing: int) -> list[str]:
        moving, raw = self.scene.moving[thing], self.scene.raw[thing]
        if raw == Raw.PEDESTRIAN:
            return [self.world("attribute", "pedestrian.moving" if moving else "pedestrian.standing")]
        if raw in (Raw.CAR, Raw.BUS, Raw.TRUCK):
            return [self.world("attribute", "vehicle.moving" if moving else "vehicle.parked")]
        return []

    def _instances(self) -> None:
        boxes: dict[str, list[Row]] = {}
        for row in self.tables["sample_annotation"]:
            boxes.setdefault(row["instance_token"], []).append(row)
        tokens = {self.tokens("instance", str(thing)): thing for thing in range(len(self.scene.raw))}
        for token, rows in boxes.items():
            chain(rows)
            category = CATEGORIES[Raw(int(self.scene.raw[tokens[token]]))][0]
            self.tables["instance"].append(
                {
                    "token": token,
                    "category_token": self.world("category", category),
                    "nbr_annotations": len(rows),
                    "first_annotation_token": rows[0]["token"],
                    "last_annotation_token": rows[-1]["token"],
                }
            )
