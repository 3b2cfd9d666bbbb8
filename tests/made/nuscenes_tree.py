"""A tiny nuScenes tree for tests, and the calibration chain written out step by step as their oracle."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets.nuscenes.keyframes import Keyframe
from datasets.nuscenes.source import NuScenes
from scenelift.samples.config import ReadOptions

VERSION = "v1.0-mini"
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
            _write(self.root / name, jpeg(self.rng.integers(0, 255, (*SIZE, 3), np.uint8)))

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

    def first(self, split: str | None = None) -> Keyframe:
        return self.source().list_samples(split)[0]

    def edit(self, table: str, token: str, **values) -> None:
        """Change a row's values and write the tables again."""
        rows = self.calibrations if table == "calibrated_sensor" else self.rows[table]
        next(row for row in rows if row["token"] == token).update(values)
        self.write()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _turn(record: dict) -> np.ndarray:
    return Rotation.from_quat(np.roll(record["rotation"], -1)).as_matrix()


def _forth(points: np.ndarray, record: dict) -> np.ndarray:
    return points @ _turn(record).T + record["translation"]


def _back(points: np.ndarray, record: dict) -> np.ndarray:
    return (points - record["translation"]) @ _turn(record)


def oracle(root: Path, sample: str, channel: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
