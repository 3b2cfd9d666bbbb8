"""A frame of a rig: every number type, one pair for each point that a photo shows, and a line for each mistake."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scenelift.errors import FrameError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from scenelift.samples.rig import View, rig_frame

OPTIONS = ReadOptions(image_size=(16, 32))
AHEAD = [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
BEHIND = [[0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]]
LENS = [[40, 0, 32], [0, 40, 16], [0, 0, 1]]


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def views(**changes: Any) -> list[View]:
    return [
        View("front", photo(), changes.get("pose", AHEAD), changes.get("lens", LENS)),
        View("back", photo(), BEHIND, LENS),
    ]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, int, ">f8"])
def test_points_of_any_number_type_are_paired_with_every_pixel_that_shows_them(dtype: Any) -> None:
    grid = np.stack(np.meshgrid([-6, -3, 3, 6], [-2, 0, 2], [-1, 0, 1]), -1).reshape(-1, 3)
    frame = rig_frame("a", grid.astype(dtype), OPTIONS, views=views(), labels=np.arange(36, dtype=np.int64))
    expected = [
        (
            view,
            round((16 - 40 * z / abs(x)) / 2 - 0.25),
            round((32 - np.sign(x) * 40 * y / abs(x)) / 2 - 0.25),
        )
        for view, side in enumerate((1, -1))
        for x, y, z in grid[grid[:, 0] * side > 0].tolist()
        if 1 < 16 - 40 * z / abs(x) < 31 and 1 < 32 - side * 40 * y / abs(x) < 63
    ]
    assert np.abs(frame.pair_pixels - np.array(expected)).max() <= 1 and len(expected) > 20
    assert frame.features.shape == (36, 1) and (frame.features == 1).all()
    assert FRAME.to_row(FRAME.from_row(FRAME.to_row(frame))) == FRAME.to_row(frame)
    assert frame.scene == "a" and frame.image_size == (16, 32) and frame.cameras == ("front", "back")


def test_a_cloud_alone_is_a_frame() -> None:
    frame = rig_frame("a", np.zeros((2, 3)), OPTIONS, features=[0.5, 1])
    assert (
        frame.features.tolist() == [[0.5], [1.0]] and not frame.images and frame.pair_pixels.shape == (0, 3)
    )
    assert frame.labels is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"points": np.zeros((4, 4))}, r"a: points are \[4, 4\], not \[N, 3\]"),
        ({"points": np.full((4, 3), "x")}, "points are <U1, not numbers"),
        ({"features": np.zeros(3)}, "a has 3 features and 4 points"),
        ({"features": np.zeros((4, 1, 1))}, r"features are \[4, 1, 1\], not \[N, F\]"),
        ({"labels": np.zeros(5, int)}, "a has 5 labels and 4 points"),
        ({"labels": np.full(4, 256)}, "labels are .* 0..255"),
        ({"labels": np.zeros(4)}, "labels are .* whole numbers"),
        ({"views": views(pose=np.eye(3))}, r"a, front: the transform is \(3, 3\), not 4x4"),
        ({"views": views(pose=np.diag([1, 1, -1, 1]))}, "a, front: .*not a rotation"),
        ({"views": views(lens=np.zeros((3, 3)))}, "a, front: the intrinsic matrix is singular"),
        (
            {"views": [View("front", b"no photo", AHEAD, LENS)]},
            "a, front: the image is truncated or not an image",
        ),
        ({"options": ReadOptions(2, (16, 32))}, "write --lidar_sweeps 0"),
    ],
)
def test_a_mistake_is_one_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(FrameError, match=says):
        rig_frame(**{"token": "a", "points": np.ones((4, 3)), "options": OPTIONS, **given})
