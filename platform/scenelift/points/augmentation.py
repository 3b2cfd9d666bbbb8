"""Augmentation of training frames: clouds are rotated and mirrored, photos cropped and mirrored with their
pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from scenelift.points.config import Augmentation, ImageAugmentation

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

ENOUGH_PAIRS, ENOUGH_SHARE = 1024, 0.75
"""A crop is accepted if it keeps more pairs than this, or at least this share of the image's pairs."""
ENOUGH_AFTER_CUBOID = 1024
"""Pairs that every photo must keep for a cuboid to be dropped."""
CROP_DRAWS = 10
"""Crops tried before the full image is used."""


def augment(points: Floats, config: Augmentation, rng: np.random.Generator) -> Floats:
    """[N, 3] -> [N, 3]: one random rotation about z, mirroring, scaling and shearing of the cloud."""
    angle = rng.uniform(0, 2 * np.pi) if config.rotate else 0.0
    mirror = rng.choice([-1.0, 1.0], 2) if config.flip else np.ones(2)
    factor = rng.uniform(1 - config.scale_jitter, 1 + config.scale_jitter)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    matrix = factor * np.diag([*mirror, 1.0]) @ turn
    for _ in range(config.shears if config.shear else 0):
        matrix = (np.eye(3) + config.shear * rng.standard_normal((3, 3))) @ matrix
    return points @ matrix.T.astype(np.float32)


def outside_cuboid(points: Floats, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """[N, 3] -> [N] whether a point is outside of a box around a random one of them: all edges are the same random
    part, up to `share`, of the cloud's extent."""
    part = rng.uniform(0, share)
    centre = points[rng.integers(len(points))]
    half = np.ptp(points, axis=0) * np.float32(part / 2)
    return ~(np.abs(points - centre) < half).all(1)


@dataclass(frozen=True)
class View:
    """A window of a photo, resized and possibly mirrored."""

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
    """A window that keeps enough of the pairs at (rows, columns) of an image of the stored size. Source:
    clip2scene.md 1.4, except that an image without pairs takes its first window, and that the full image is
    used after `CROP_DRAWS` windows that lose too many pairs (8.2, item 10: the paper's code loops forever)."""
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
