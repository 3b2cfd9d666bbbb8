"""One sequence: calibration, poses and times, joined into scans that can be read on their own, in any process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import not_hidden, read_text, words
from scenelift.errors import DataError
from scenelift.geometry.transforms import Matrix, compose, inverse, require_rigid

CAMERA = "image_2"
MAX_SWEEPS = 10
"""Earlier scans listed as sweeps of a scan: one second."""
PERIOD = 100_000
"""Microseconds between scans, if there is no times.txt."""
GAP = 1_000_000
"""A longer time between two scans, microseconds, begins a new drive: sweeps do not cross it."""
_LATEST = 1e11
"""Times are below this many seconds, also those since 1970."""


@dataclass(frozen=True, eq=False)
class Scan:
    """The files of a scan (relative to the data set's root) and the transforms between them.

    S <= MAX_SWEEPS earlier scans. Transforms are 4x4 for column vectors, metres.
    """

    token: str
    scene: str
    """The sequence, such as 08."""
    timestamp: int
    """Microseconds since the start of the sequence."""
    points: str
    labels: str | None
    """None if the sequence has no labels."""
    image: str | None
    """None if the sequence has no images."""
    to_camera: Matrix
    """[4, 4] from the LiDAR frame to that of the left color camera; NaN if it is not needed."""
    intrinsic: Matrix
    """[3, 3] its pinhole matrix, pixels."""
    lidar_sweeps: tuple[str, ...]
    """[S] point files of the preceding scans, nearest first."""
    sweep_to_keyframe: Matrix | None
    """[S, 4, 4] from the LiDAR frame at the sweep's time to that at the keyframe's; None without poses."""


@dataclass(frozen=True)
class _Calibration:
    camera_from_lidar: Matrix
    """[4, 4] into the frame of camera 0, to which the poses refer."""
    to_camera: Matrix
    intrinsic: Matrix


def load_keyframes(root: Path, sequence: str) -> list[Scan]:
    """The scans of ROOT/sequences/NN, by frame number.

    Raises DataError for files that are missing, broken, or inconsistent.
    """
    folder = f"sequences/{sequence}"
    numbers = _frame_numbers(root / folder / "velodyne")
    calibration = _calibration(root / folder)
    relative = _sweep_transforms(root / folder, calibration, numbers)
    times = _times(root / folder, numbers)
    starts = _starts(times)
    has_labels, has_images = ((root / folder / name).is_dir() for name in ("labels", CAMERA))

    def make(index: int) -> Scan:
        name = f"{numbers[index]:06d}"
        past = numbers[max(starts[index], index - MAX_SWEEPS) : index][::-1]
        return Scan(
            token=f"{sequence}-{name}",
            scene=sequence,
            timestamp=times[index],
            points=f"{folder}/velodyne/{name}.bin",
            labels=f"{folder}/labels/{name}.label" if has_labels else None,
            image=f"{folder}/{CAMERA}/{name}.png" if has_images else None,
            to_camera=calibration.to_camera,
            intrinsic=calibration.intrinsic,
            lidar_sweeps=tuple(f"{folder}/velodyne/{number:06d}.bin" for number in past),
            sweep_to_keyframe=None if relative is None else relative[index, : len(past)],
        )

    return [make(index) for index in range(len(numbers))]


def frames_without_a_scan(root: Path, scans: list[Scan]) -> int:
    """How many frames poses.txt or times.txt of one sequence have that velodyne lacks."""
    folder = root / "sequences" / scans[0].scene
    files = [folder / name for name in ("poses.txt", "times.txt")]
    frames = [len(_text(path).rstrip("\n").split("\n")) for path in files if path.is_file()]
    return max([len(scans), *frames]) - len(scans)


def _frame_numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; unpack KITTI odometry's data_odometry_velodyne.zip there")
    names = sorted(file.stem for file in not_hidden(folder.glob("*.bin")))
    if not names:
        raise DataError(f"{folder} has no .bin files")
    for name in names:
        if len(name) != 6 or not (name.isascii() and name.isdigit()):
            raise DataError(
                f"{folder}/{name}.bin is not named by a frame number of six digits, such as 000000.bin"
            )
    return [int(name) for name in names]


def _calibration(folder: Path) -> _Calibration:
    """From calib.txt, if images or poses need it; else NaN."""
    if not any((folder / name).exists() for name in ("calib.txt", "poses.txt", CAMERA)):
        unknown = np.full((4, 4), np.nan)
        return _Calibration(unknown, unknown, unknown[:3, :3])
    path = folder / "calib.txt"
    lines = dict(line.partition(":")[::2] for line in _text(path).split("\n"))
    projection, camera_from_lidar = _matrix(path, lines, "P2"), _matrix(path, lines, "Tr")
    intrinsic = projection[:, :3]
    try:
        # P2 = K [1 | t]: its fourth column moves points from camera 0 to camera 2 before K projects them.
        offset = np.asarray(np.linalg.solve(intrinsic, projection[:, 3]), np.float64)
        lidar = np.concatenate([camera_from_lidar, [[0, 0, 0, 1]]])
        require_rigid(lidar)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise DataError(f"{path}: P2 or Tr is wrong: {error}") from None
    return _Calibration(lidar, compose(np.eye(3), offset) @ lidar, intrinsic)


def _matrix(path: Path, lines: dict[str, str], name: str) -> Matrix:
    if name not in lines:
        raise DataError(f"{path} has no line {name}; use the calib.txt of SemanticKITTI or KITTI odometry")
    return _numbers(path, words(lines[name]), 12).reshape(3, 4)


def _numbers(path: Path, listed: list[str], count: int) -> NDArray[np.float64]:
    try:
        values = np.array(listed, np.float64)
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise DataError(f"{path} has a line that does not have {count} numbers: {' '.join(listed)[:40]!r}")
    return values


def _sweep_transforms(folder: Path, calibration: _Calibration, numbers: list[int]) -> Matrix | None:
    """[F, MAX_SWEEPS, 4, 4] from the LiDAR frames before each scan, nearest first; None without poses.

    The first scans have fewer predecessors; the rest of their entries is not used.
    """
    path = folder / "poses.txt"
    if not path.is_file():
        return None
    lines = _lines(path, numbers)
    rows = np.stack([_numbers(path, words(line), 12) for line in lines])
    rows[~np.isfinite(rows).all(1)] = np.nan  # reported where it is used, not before
    world_from_camera = rows.reshape(-1, 3, 4)
    poses = compose(world_from_camera[..., :3], world_from_camera[..., 3])
    world_from_lidar = (poses @ calibration.camera_from_lidar)[numbers]
    before = np.arange(len(numbers))[:, None] - np.arange(1, MAX_SWEEPS + 1)
    return inverse(world_from_lidar)[:, None] @ world_from_lidar[np.maximum(before, 0)]


def _times(folder: Path, numbers: list[int]) -> list[int]:
    """Time of each scan, microseconds."""
    path = folder / "times.txt"
    if not path.is_file():
        return [number * PERIOD for number in numbers]
    lines = _lines(path, numbers)
    seconds = [_numbers(path, words(lines[number]), 1)[0] for number in numbers]
    if not (np.abs(seconds) < _LATEST).all():
        raise DataError(f"{path} has a time that is not finite, or no number of seconds")
    return [round(second * 1e6) for second in seconds]


def _starts(times: list[int]) -> list[int]:
    """Index of the first scan of the drive that each scan belongs to."""
    steps = np.diff(times, prepend=times[0])
    number = np.arange(len(times))
    starts: list[int] = np.maximum.accumulate(np.where((steps < 0) | (steps > GAP), number, 0)).tolist()
    return starts


def _lines(path: Path, numbers: list[int]) -> list[str]:
    """The lines of a file with one line for every frame of the sequence."""
    lines = _text(path).rstrip("\n").split("\n")
    if len(lines) <= numbers[-1]:
        raise DataError(f"{path} has {len(lines)} lines, but there is a frame {numbers[-1]:06d}")
    return lines


def _text(path: Path) -> str:
    if not path.exists():
        raise DataError(f"{path.parent} has no {path.name}, which its images and poses need")
    return read_text(path)
