"""The adapter of docs/your_own_data.md, and drives as that page lays them out."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your_own_data.md"


def example() -> str:
    """The code of the adapter."""
    (code,) = re.findall(r"needs this file.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(code)


def record(root: Path, drive: str, frames: int) -> None:
    """A drive whose camera looks along x, the LiDAR's axis forward."""
    rng = np.random.default_rng(0)
    camera = {
        "intrinsic": [[40, 0, 32], [0, 40, 18], [0, 0, 1]],
        "camera_from_lidar": [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
    }
    for name in ("points", "images", "labels"):
        (root / drive / name).mkdir(parents=True)
    (root / drive / "camera.json").write_text(json.dumps(camera))
    photo = io.BytesIO()
    Image.fromarray(np.zeros((36, 64, 3), np.uint8)).save(photo, "JPEG")
    for number in range(frames):
        cloud = rng.uniform([-10, -10, -2, 0], [10, 10, 2, 1], (200, 4)).astype("<f4")
        (root / f"{drive}/points/{number:03d}.bin").write_bytes(cloud.tobytes())
        (root / f"{drive}/labels/{number:03d}.bin").write_bytes(rng.integers(0, 4, 200, np.uint8).tobytes())
        (root / f"{drive}/images/{number:03d}.jpg").write_bytes(photo.getvalue())
