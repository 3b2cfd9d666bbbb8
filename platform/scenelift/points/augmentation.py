"""Augmentation of training frames: clouds rotated and mirrored, photos cropped and mirrored with their pairs.

All draws come from the given generator; geometry and pairs change together, so that a point and its pixel still
show the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scenelift.errors import ConfigError

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

ENOUGH_PAIRS, ENOUGH_SHARE = 1024, 0.75
"""A crop is accepted if it keeps more pairs than this, or at least this share of the image's pairs."""
CROP_DRAWS = 10
"""Crops tried before the full image is used."""


@dataclass(frozen=True)
class ImageAugmentation:
    """Changes of the training photos, of which pairs keep track (clip2scene.md 1.4)."""

    crop: bool = False
    """Cut out a random window and resize it to `size`."""
    area: tuple[float, float] = (0.3, 1.0)
    """Least and largest share of the photo that a window covers."""
    aspect: tuple[float, float] = (14 / 9, 17 / 9)
    """Least and largest width / height of a window, pixels of the stored image."""
    flip: bool = False
    """Mirror left and right with probability one half."""
    size: tuple[int, int] | None = None
    """(height, width) in which images enter a batch; none: as stored."""
    per_cloud: bool = False
    """Each cloud of a frame gets windows of its own, as the paper's code has it, instead of sharing one set;
    with K clouds the teacher then sees K times as many images."""
    views: int = 0
    """Photos of a frame drawn for an epoch, without replacement (ScanNet: 8); 0: all."""

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"augmentation.image.area is two shares above 0 and up to 1, not {self.area}")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ConfigError(f"augmentation.image.aspect is two positive ratios, not {self.aspect}")
        if self.views < 0:
            raise ConfigError(f"augmentation.image.views is 0 (all) or more, not {self.views}")


@dataclass(frozen=True)
class Augmentation:
    """Changes of a training frame, drawn anew for each epoch (clip2scene.md 1.4)."""

    rotate: bool = True
    """Rotate each cloud about z by an angle uniform in [0, 2 pi)."""
    flip: bool = True
    """Mirror x, and y, of each cloud with probability one half each."""
    scale_jitter: float = 0.0
    """Scale each cloud by a factor uniform in [1 - j, 1 + j]."""
    shear: float = 0.0
    """Add a normal deviate of this size to each element of the rotation's matrix (fine-tuning on ScanNet)."""
    lidar_sweeps: int = 0
    """Earlier sweeps drawn beside the keyframe, of those that the shards hold; each becomes its own cloud."""
    merge: bool = False
    """Make one cloud of the keyframe and the drawn sweeps instead (an ablation of the paper)."""
    image: ImageAugmentation = ImageAugmentation()
    """Changes of the photos."""

    def __post_init__(self) -> None:
        if self.merge and not self.lidar_sweeps:
            raise ConfigError("augmentation.merge needs augmentation.lidar_sweeps of 1 or more")


NO_AUGMENTATION = Augmentation(rotate=False, flip=False)


def augment(points: Floats, config: Augmentation, rng: np.random.Generator) -> Floats:
    """[N, 3] -> [N, 3]: one random rotation about z, mirroring, scaling and shearing of the cloud."""
    angle = rng.uniform(0, 2 * np.pi) if config.rotate else 0.0
    mirror = rng.choice([-1.0, 1.0], 2) if config.flip else np.ones(2)
    factor = rng.uniform(1 - config.scale_jitter, 1 + config.scale_jitter)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    matrix = factor * np.diag([*mirror, 1.0]) @ turn
    if config.shear:
        matrix = (np.eye(3) + config.shear * rng.standard_normal((3, 3))) @ matrix
    return points @ matrix.T.astype(np.float32)


@dataclass(frozen=True)
class View:
    """How one photo enters a batch: a window of it, resized, possibly mirrored."""

    top: int
    left: int
    height: int
    width: int
    """The window, pixels of the stored image."""
    size: tuple[int, int]
    """(height, width) of the result."""
    mirrored: bool = False

    def image(self, stored: Tensor) -> Tensor:
        """uint8 [3, H, W] -> uint8 [3, *size], bilinear without antialiasing."""
        window = self._window(stored)
        if self.size != tuple(window.shape[1:]):
            resized = F.interpolate(window[None].float(), self.size, mode="bilinear", align_corners=False)
            window = resized[0].round().to(torch.uint8)
        return window.flip(2) if self.mirrored else window

    def segments(self, stored: Tensor) -> Tensor:
        """int64 [H, W] superpixels -> [*size], nearest neighbour."""
        window = self._window(stored[None])
        if self.size != tuple(window.shape[1:]):
            window = F.interpolate(window[None].float(), self.size, mode="nearest-exact")[0].long()
        return (window.flip(2) if self.mirrored else window)[0]

    def pixels(self, rows: Indices, columns: Indices) -> tuple[Indices, Indices, NDArray[np.bool_]]:
        """[M] pixels of the stored image -> rows and columns in the result, and which are inside it."""
        row = _scaled(rows - self.top, self.height, self.size[0])
        column = _scaled(columns - self.left, self.width, self.size[1])
        inside = (row >= 0) & (row < self.size[0]) & (column >= 0) & (column < self.size[1])
        return row, self.size[1] - 1 - column if self.mirrored else column, inside

    def _window(self, stored: Tensor) -> Tensor:
        return stored[:, self.top : self.top + self.height, self.left : self.left + self.width]


def _scaled(pixel: Indices, before: int, after: int) -> Indices:
    """The pixel that covers another's centre after resizing from `before` to `after` pixels."""
    return (2 * pixel + 1) * after // (2 * before)


def draw_view(
    rows: Indices,
    columns: Indices,
    stored: tuple[int, int],
    config: ImageAugmentation,
    rng: np.random.Generator,
) -> View:
    """A window that keeps enough of the pairs at (rows, columns) of an image of the stored size.

    Source: clip2scene.md 1.4, except that an image without pairs takes its first window, and that after
    `CROP_DRAWS` windows that lose too many pairs the full image is used (clip2scene.md 8.2, item 10: the paper's
    code loops forever).
    """
    size = config.size or stored
    mirrored = config.flip and bool(rng.random() < 0.5)
    uncropped = View(0, 0, *stored, size, mirrored)
    if not config.crop:
        return uncropped
    for _ in range(CROP_DRAWS):
        view = View(*_window(stored, config, rng), size, mirrored)
        kept = int(view.pixels(rows, columns)[2].sum())
        if kept > ENOUGH_PAIRS or kept >= ENOUGH_SHARE * len(rows):
            return view
    return uncropped


def _window(
    stored: tuple[int, int], config: ImageAugmentation, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random window: area uniform, aspect log-uniform."""
    height, width = stored
    area = height * width * rng.uniform(*config.area)
    aspect = np.exp(rng.uniform(*np.log(config.aspect)))
    w = min(width, max(1, round(float(np.sqrt(area * aspect)))))
    h = min(height, max(1, round(float(np.sqrt(area / aspect)))))
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
