"""A tiny SemanticKITTI tree for tests, and the projection of its points written out as a loop."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets.semantickitti.source import SemanticKITTI

SIZE = (37, 124)
POINTS = 300
FRAMES = 4
RAW = {10: 1, 252: 1, 0: 0, 48: 11, 259: 5, 81: 19, 99: 0}
"""Raw labels in the tree, and what becomes of them."""
P2 = np.array([[72.0, 0, 61, 4.5], [0, 71, 17, 0.2], [0, 0, 1, 0.003]])


class KittiTree:
    """Sequences of 4 scans of a static world from a moving car, with a camera whose P2 has a shift."""

    def __init__(self, root: Path, sequences: tuple[str, ...] = ("00", "08")) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        turn = Rotation.from_euler("xyz", [0.02, -0.01, 0.03]).as_matrix()
        self.camera_from_lidar = np.eye(4)
        self.camera_from_lidar[:3, :3] = turn @ np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
        self.camera_from_lidar[:3, 3] = [0.01, -0.08, -0.27]
        for sequence in sequences:
            self._sequence(root / "sequences" / sequence)

    def _sequence(self, folder: Path) -> None:
        world = self.rng.uniform([-8, -2, -6], [8, 2, 20], (POINTS, 3))  # metres, frame of the first camera 0
        remission = self.rng.uniform(0, 1, POINTS)
        poses = [self._pose(number) for number in range(FRAMES)]
        lines = {"P0": P2 * [1, 1, 1, 0], "P2": P2, "Tr": self.camera_from_lidar[:3]}
        write(folder / "calib.txt", "".join(f"{name}: {_text(value)}\n" for name, value in lines.items()))
        write(folder / "poses.txt", "".join(f"{_text(pose[:3])}\n" for pose in poses))
        write(folder / "times.txt", "".join(f"{0.1037 * number:e}\n" for number in range(FRAMES)))
        for number, pose in enumerate(poses):
            lidar = np.linalg.inv(pose @ self.camera_from_lidar)
            points = world @ lidar[:3, :3].T + lidar[:3, 3]
            cloud = np.concatenate([points, remission[:, None]], 1).astype("<f4")
            write(folder / f"velodyne/{number:06d}.bin", cloud.tobytes())
            raw = self.rng.choice(list(RAW), POINTS) + (self.rng.integers(0, 900, POINTS) << 16)
            write(folder / f"labels/{number:06d}.label", raw.astype("<u4").tobytes())
            write(folder / f"image_2/{number:06d}.png", png(self.rng.integers(0, 255, (*SIZE, 3), np.uint8)))

    @staticmethod
    def _pose(number: int) -> np.ndarray:
        """World from camera 0."""
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("y", 0.1 * number).as_matrix()
        pose[:3, 3] = [0.3 * number, 0.01 * number, 1.1 * number]
        return pose

    def source(self) -> SemanticKITTI:
        return SemanticKITTI(self.root)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.12e}" for value in values.ravel())


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def loop(
    points: np.ndarray, calibration: dict[str, np.ndarray], native: tuple[int, int], stored: tuple[int, int]
) -> list[tuple[int, int, int]]:
    """(point, row, column) of every point that the camera sees: P2 Tr x, one point after the other, float64."""
    camera_from_lidar = np.vstack([calibration["Tr"], [0, 0, 0, 1]])
    pairs = []
    for index, point in enumerate(points):
        x, y, depth = calibration["P2"] @ camera_from_lidar @ np.array([*map(float, point), 1.0])
        if depth <= 1:
            continue
        u, v = x / depth, y / depth
        if 1 < u < native[1] - 1 and 1 < v < native[0] - 1:
            row = int((round(v) + 0.5) / native[0] * stored[0])
            column = int((round(u) + 0.5) / native[1] * stored[1])
            pairs.append((index, row, column))
    return pairs


def read_calibration(path: Path) -> dict[str, np.ndarray]:
    lines = [line.split(":") for line in path.read_text().splitlines() if line]
    return {name: np.array(values.split(), float).reshape(3, 4) for name, values in lines}
