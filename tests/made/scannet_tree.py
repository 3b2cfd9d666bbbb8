"""A tiny ScanNet tree for tests, and the depth test of its points written out as a loop."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from datasets.scannet.source import ScanNet

DEPTH, COLOR = (48, 64), (97, 130)
INTRINSIC = np.array([[57.0, 0, 31.5, 0], [0, 58, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SCENES = ("scene0000_00", "scene0001_00", "scene0002_01")
NYU = {1: 1, 2: 2, 0: 0, 5: 5, 13: 0, 39: 20, 40: 0}
"""NYU40 ids in the tree, and their labels."""
TABLE = {
    1: "wall",
    2: "floor",
    3: "cabinet",
    4: "bed",
    5: "chair",
    6: "sofa",
    7: "table",
    8: "door",
    9: "window",
    10: "bookshelf",
    11: "picture",
    12: "counter",
    13: "blinds",
    14: "desk",
    16: "curtain",
    24: "refridgerator",
    28: "shower curtain",
    33: "toilet",
    34: "sink",
    36: "bathtub",
    39: "otherfurniture",
    40: "otherprop",
}
"""NYU40 id -> name, as in ScanNet's own label table."""


class ScanNetTree:
    """Three scenes of 400 points and 4 photos; the second photo's pose is lost. The third scene is in val."""

    def __init__(self, root: Path) -> None:
        self.root, self.rng = root, np.random.default_rng(0)
        rows = [f"{number}\tthing {number}\t{number}\t{name}\n" for number, name in TABLE.items()]
        write(
            root / "scannetv2-labels.combined.tsv", "id\traw_category\tnyu40id\tnyu40class\n" + "".join(rows)
        )
        write(root / "scannetv2_train.txt", "\n".join([*SCENES[:2], "scene0099_00"]))
        write(root / "scannetv2_val.txt", SCENES[2] + "\n")
        for scene in SCENES:
            self._scene(scene)

    def _scene(self, scene: str) -> None:
        folder = self.root / "scans" / scene
        points = self.rng.uniform([0, 0, 0], [6, 5, 2.5], (400, 3)).astype(np.float32)
        colors = self.rng.integers(0, 256, (400, 3), np.uint8)
        labels = self.rng.choice(list(NYU), 400)
        write(folder / f"{scene}_vh_clean_2.ply", ply(points, colors))
        write(folder / f"{scene}_vh_clean_2.labels.ply", ply(points, colors, labels))
        photos(self.root / "scannet_frames_25k" / scene, points, self.rng)

    def source(self) -> ScanNet:
        return ScanNet(self.root)


def ply(points: np.ndarray, colors: np.ndarray, labels: np.ndarray | None = None, faces: int = 2) -> bytes:
    fields = [(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue", "alpha")]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment made by a test",
        f"element vertex {len(points)}",
    ]
    header += [f"property float {name}" for name in "xyz"]
    header += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    if labels is not None:
        fields.append(("label", "<u2"))
        header.append("property ushort label")
    vertices = np.zeros(len(points), fields)
    for number, name in enumerate("xyz"):
        vertices[name] = points[:, number]
    for number, name in enumerate(("red", "green", "blue")):
        vertices[name] = colors[:, number]
    if labels is not None:
        vertices["label"] = labels
    header += [f"element face {faces}", "property list uchar int vertex_indices", "end_header", ""]
    return "\n".join(header).encode() + vertices.tobytes() + b"\x03" + bytes(12) + b"\x03" + bytes(12)


def photos(folder: Path, points: np.ndarray, rng: np.random.Generator, views: int = 4) -> None:
    """Photos from inside the room; a depth image holds the nearest point of each pixel, some off by a little."""
    write(folder / "intrinsics_depth.txt", _text(INTRINSIC))
    write(folder / "intrinsics_color.txt", _text(INTRINSIC * [[2], [2], [1], [1]]))
    for number in range(views):
        name = f"{100 * number:06d}"
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("xz", [-1.5, 1.3 * number]).as_matrix()
        pose[:3, 3] = points.mean(0) + rng.uniform(-0.5, 0.5, 3)
        depth = _depth(points, pose, rng)
        if number == 1:
            pose[:] = -np.inf
        write(folder / f"pose/{name}.txt", _text(pose))
        write(folder / f"depth/{name}.png", encode(np.rint(depth * 1000).astype(np.uint16), "PNG"))
        write(folder / f"color/{name}.jpg", encode(rng.integers(0, 255, (*COLOR, 3), np.uint8), "JPEG"))


def _depth(points: np.ndarray, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    camera = (points - pose[:3, 3]) @ pose[:3, :3]
    camera = camera[camera[:, 2] > 0.1]
    pixels = camera @ INTRINSIC[:3, :3].T
    u, v = np.rint(pixels[:, :2] / pixels[:, 2:]).astype(int).T
    inside = (u >= 0) & (u < DEPTH[1]) & (v >= 0) & (v < DEPTH[0])
    depth = np.full(DEPTH, 9.0)
    np.minimum.at(depth, (v[inside], u[inside]), camera[inside, 2])
    depth += rng.uniform(-0.08, 0.08, DEPTH)
    depth[rng.random(DEPTH) < 0.1] = 0
    return depth


def loop(
    root: Path, scene: str, points: np.ndarray, stored: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """(image, point, row, column) of all pairs of a scene: one point after the other, in float64."""
    folder = root / "scannet_frames_25k" / scene
    matrix = np.loadtxt(folder / "intrinsics_depth.txt")
    pairs, image = [], 0
    for path in sorted((folder / "pose").iterdir()):
        pose = np.loadtxt(path)
        if not np.isfinite(pose).all():
            continue
        depth = np.array(Image.open(folder / "depth" / f"{path.stem}.png")).astype(float) / 1000
        height, width = depth.shape
        camera_from_world = np.linalg.inv(pose)
        for index, point in enumerate(points):
            x, y, z, _ = camera_from_world @ np.array([*map(float, point), 1.0])
            if z <= 0:
                continue
            u, v = matrix[0, 0] * x / z + matrix[0, 2], matrix[1, 1] * y / z + matrix[1, 2]
            if not (0 <= u <= width - 1 and 0 <= v <= height - 1):
                continue
            measured = depth[round(v), round(u)]
            if measured > 0 and abs(measured - z) <= 0.05:
                row = int((int(v) + 0.5) / height * stored[0])
                column = int((int(u) + 0.5) / width * stored[1])
                pairs.append((image, index, row, column))
        image += 1
    return pairs


def _text(matrix: np.ndarray) -> str:
    return "".join(" ".join(map(repr, map(float, row))) + "\n" for row in matrix)


def write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def encode(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
