"""Joins the nuScenes tables into keyframes that can be read one by one, in any process, without the tables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from datasets.nuscenes.tables import read_keyed, read_table
from scenelift.errors import DataError
from scenelift.geometry.transforms import Matrix, inverse, rigid

LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
MAX_SWEEPS = 10
"""Earlier sweeps listed for a keyframe: half a second, the time between keyframes."""

Rows = NDArray[np.int64]
"""Row numbers of a table; -1 is none."""


@dataclass(frozen=True, eq=False)
class Keyframe:
    """The files of a keyframe (relative to the data set's root) and the transforms between them.

    S <= MAX_SWEEPS earlier sweeps, V cameras. Transforms are 4x4 for column vectors, metres.
    """

    token: str
    scene: str
    timestamp: int
    """Time of the LiDAR record, microseconds."""
    points: str
    labels: str | None
    """None if the data set has neither lidarseg nor panoptic labels."""
    lidar_sweeps: tuple[str, ...]
    """[S] point files of the preceding LiDAR records, nearest first."""
    sweep_to_keyframe: Matrix
    """[S, 4, 4] from the LiDAR frame at the sweep's time to that at the keyframe's."""
    cameras: tuple[str, ...]
    """[V] channels."""
    images: tuple[str, ...]
    """[V] image files."""
    image_sizes: tuple[tuple[int, int], ...]
    """[V] (height, width), pixels."""
    to_camera: Matrix
    """[V, 4, 4] from the LiDAR frame at the keyframe's time to the camera's frame at the image's time."""
    intrinsics: Matrix
    """[V, 3, 3] pinhole matrices, pixels."""


def _schema(**columns: Any) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


_TEXT, _WHOLE, _NUMBERS = pa.string(), pa.int64(), pa.list_(pa.float64())
_SCENE = _schema(token=_TEXT, name=_TEXT)
_SAMPLE = _schema(token=_TEXT, timestamp=_WHOLE, scene_token=_TEXT)
_SENSOR = _schema(token=_TEXT, channel=_TEXT)
_CALIBRATION = _schema(
    token=_TEXT,
    sensor_token=_TEXT,
    translation=_NUMBERS,
    rotation=_NUMBERS,
    camera_intrinsic=pa.list_(_NUMBERS),
)
_POSE = _schema(token=_TEXT, translation=_NUMBERS, rotation=_NUMBERS)
_RECORD = _schema(
    token=_TEXT,
    sample_token=_TEXT,
    ego_pose_token=_TEXT,
    calibrated_sensor_token=_TEXT,
    timestamp=_WHOLE,
    is_key_frame=pa.bool_(),
    height=_WHOLE,
    width=_WHOLE,
    filename=_TEXT,
    prev=_TEXT,
)
_LABELS = _schema(sample_data_token=_TEXT, filename=_TEXT)

LABEL_FILES = {"lidarseg": "bin", "panoptic": "npz"}
"""Tables and folders of labels -> how their files end; the first that a tree has is read."""


def label_kind(tables: Path) -> str | None:
    """Which labels the tree has: `lidarseg`, or `panoptic` alone; None: neither table lists any."""
    for kind in LABEL_FILES:
        path = tables / f"{kind}.json"
        if path.is_file() and len(read_table(path, _LABELS)):
            return kind
    return None


def scene_names(tables: Path) -> list[str]:
    """The scenes of the tree, in table order."""
    return read_keyed(tables / "scene.json", _SCENE)["name"].to_pylist()


def load_keyframes(tables: Path, scenes: Collection[str]) -> list[Keyframe]:
    """The keyframes of the scenes, in the scene table's order and then in time.

    Raises DataError for tables that are missing, broken, or refer to missing rows.
    """
    samples, scene_of = _samples(tables, scenes)
    calibrations, channels = _calibrations(tables)
    records = _records(tables, samples, calibrations, channels)
    return _Join(tables, samples, scene_of, calibrations, channels, records).list_samples()


def _samples(tables: Path, scenes: Collection[str]) -> tuple[pa.Table, list[str]]:
    """The samples of the scenes, in order, and the scene name of each."""
    table = read_keyed(tables / "scene.json", _SCENE)
    table = table.filter(pc.is_in(table["name"], pa.array(list(scenes), _TEXT)))
    samples = read_keyed(
        tables / "sample.json", _SAMPLE, lambda rows: pc.is_in(rows["scene_token"], table["token"])
    )
    scene = _find(samples["scene_token"], table["token"])
    order = np.lexsort((samples["timestamp"].to_numpy(), scene))
    names = table["name"].to_pylist()
    return samples.take(order), [names[row] for row in scene[order]]


def _calibrations(tables: Path) -> tuple[pa.Table, NDArray[np.int64]]:
    """The calibration table, and the channel of each row: 0 LiDAR, 1..6 the cameras, -1 other sensors."""
    sensors = read_keyed(tables / "sensor.json", _SENSOR)
    code = {channel: number for number, channel in enumerate((LIDAR, *CAMERAS))}
    codes = np.array([*(code.get(channel, -1) for channel in sensors["channel"].to_pylist()), -1])
    calibrations = read_keyed(tables / "calibrated_sensor.json", _CALIBRATION)
    return calibrations, codes[_find(calibrations["sensor_token"], sensors["token"])]


def _records(
    tables: Path, samples: pa.Table, calibrations: pa.Table, channels: NDArray[np.int64]
) -> pa.Table:
    """The rows of sample_data.json that keyframes need: all LiDAR records and the cameras' key frames."""
    lidar = calibrations["token"].filter(channels == 0)
    camera = calibrations["token"].filter(channels > 0)

    def keep(rows: pa.Table) -> pa.Array:
        sensor = rows["calibrated_sensor_token"]
        shown = pc.and_(rows["is_key_frame"], pc.is_in(sensor, camera))
        return pc.and_(
            pc.or_(shown, pc.is_in(sensor, lidar)), pc.is_in(rows["sample_token"], samples["token"])
        )

    return read_keyed(tables / "sample_data.json", _RECORD, keep)


def _find(wanted: pa.ChunkedArray, tokens: pa.ChunkedArray) -> Rows:
    """[N] the row of each wanted token, -1 if there is none."""
    return pc.fill_null(pc.index_in(wanted, tokens), -1).to_numpy().astype(np.int64)


def _numbers(column: pa.ChunkedArray, count: int, what: str) -> NDArray[np.float64]:
    """A column of lists -> [N, count]."""
    if not pc.all(pc.equal(pc.list_value_length(column), count), min_count=0).as_py():
        raise DataError(f"{what} has a row that does not have {count} numbers")
    return pc.list_flatten(column).to_numpy().reshape(-1, count)


def _rigid(table: pa.Table, name: str) -> Matrix:
    rotation = _numbers(table["rotation"], 4, f"{name}: rotation")
    return rigid(rotation, _numbers(table["translation"], 3, f"{name}: translation"))


def _intrinsics(calibrations: pa.Table) -> Matrix:
    """[N, 3, 3]; NaN for rows without a 3x3 matrix, such as a LiDAR's."""
    matrices = np.full((len(calibrations), 3, 3), np.nan)
    for row, matrix in enumerate(calibrations["camera_intrinsic"].to_pylist()):
        if [len(line or ()) for line in matrix] == [3, 3, 3] and not any(None in line for line in matrix):
            matrices[row] = matrix
    return matrices


class _Join:
    """The tables of some scenes, joined; rows of the records are numbered 0..R-1."""

    def __init__(
        self,
        tables: Path,
        samples: pa.Table,
        scene_of: list[str],
        calibrations: pa.Table,
        channels: NDArray[np.int64],
        records: pa.Table,
    ) -> None:
        self.tables, self.samples, self.scene_of, self.records = tables, samples, scene_of, records
        self.files = records["filename"].to_pylist()
        calibration = self._refer("calibrated_sensor_token", calibrations["token"], "calibrated_sensor")
        self.channel = channels[calibration]
        self.intrinsics = _intrinsics(calibrations)[calibration]
        self.ego_from_sensor = _rigid(calibrations, "calibrated_sensor.json")[calibration]
        self.global_from_ego = self._poses()

    def _refer(self, column: str, tokens: pa.ChunkedArray, table: str) -> Rows:
        rows = _find(self.records[column], tokens)
        if (rows < 0).any():
            token = self.records[column][int(np.argmin(rows))].as_py()
            raise DataError(f"{self.tables / table}.json has no row {token} that sample_data.json refers to")
        return rows

    def _poses(self) -> Matrix:
        wanted = self.records["ego_pose_token"]
        path = self.tables / "ego_pose.json"
        poses = read_keyed(path, _POSE, lambda rows: pc.is_in(rows["token"], wanted))
        return _rigid(poses, path.name)[self._refer("ego_pose_token", poses["token"], "ego_pose")]

    def _key_rows(self) -> Rows:
        """[samples, 7] the key frame record of each channel."""
        shown = np.flatnonzero(self.records["is_key_frame"].to_numpy())
        sample = _find(self.records["sample_token"], self.samples["token"])
        rows = np.full((len(self.samples), 1 + len(CAMERAS)), -1)
        rows[sample[shown], self.channel[shown]] = shown
        if len(np.unique(sample[shown] * rows.shape[1] + self.channel[shown])) < len(shown):
            raise DataError(
                f"{self.tables / 'sample_data.json'} has two key frames of one sample and sensor; unpack it again"
            )
        if (rows[:, 0] < 0).any():
            token = self.samples["token"][int(np.argmin(rows[:, 0]))].as_py()
            raise DataError(f"{self.tables / 'sample_data.json'}: sample {token} has no {LIDAR} key frame")
        return rows

    def _sweep_rows(self, lidar: Rows) -> Rows:
        """[samples, MAX_SWEEPS] the records before each LiDAR record, nearest first, -1 before the first."""
        before = np.append(_find(self.records["prev"], self.records["token"]), -1)
        chain = [before[lidar]]
        while len(chain) < MAX_SWEEPS:
            chain.append(before[chain[-1]])
        return np.stack(chain, 1)

    def _labels(self, lidar: Rows) -> list[str | None]:
        """The label file of each key frame: from lidarseg.json or panoptic.json, else its default path."""
        kind = label_kind(self.tables)
        if kind is None:
            return [None] * len(lidar)
        table = read_table(self.tables / f"{kind}.json", _LABELS)
        files = dict(zip(table["sample_data_token"].to_pylist(), table["filename"].to_pylist(), strict=True))
        tokens = self.records["token"].take(lidar).to_pylist()
        ending = LABEL_FILES[kind]
        return [files.get(token, f"{kind}/{self.tables.name}/{token}_{kind}.{ending}") for token in tokens]

    def list_samples(self) -> list[Keyframe]:
        rows = self._key_rows()
        lidar, cameras = rows[:, 0], rows[:, 1:]
        sweeps = self._sweep_rows(lidar)
        global_from_lidar = self.global_from_ego @ self.ego_from_sensor
        lidar_from_global = inverse(global_from_lidar[lidar])
        to_keyframe = lidar_from_global[:, None] @ global_from_lidar[sweeps]
        camera_from_global = inverse(self.ego_from_sensor) @ inverse(self.global_from_ego)
        to_camera = camera_from_global[cameras] @ global_from_lidar[lidar][:, None]
        sizes = np.stack([self.records["height"].to_numpy(), self.records["width"].to_numpy()], 1)
        labels = self._labels(lidar)
        tokens = self.samples["token"].to_pylist()
        times = self.records["timestamp"].to_pylist()

        def make(number: int) -> Keyframe:
            record, seen = lidar[number], np.flatnonzero(cameras[number] >= 0)
            shown = cameras[number, seen]
            past = sweeps[number][sweeps[number] >= 0]
            return Keyframe(
                token=tokens[number],
                scene=self.scene_of[number],
                timestamp=times[record],
                points=self.files[record],
                labels=labels[number],
                lidar_sweeps=tuple(self.files[row] for row in past),
                sweep_to_keyframe=to_keyframe[number, : len(past)],
                cameras=tuple(CAMERAS[view] for view in seen),
                images=tuple(self.files[row] for row in shown),
                image_sizes=tuple((height, width) for height, width in sizes[shown].tolist()),
                to_camera=to_camera[number, seen],
                intrinsics=self.intrinsics[shown],
            )

        return [make(number) for number in range(len(self.samples))]
