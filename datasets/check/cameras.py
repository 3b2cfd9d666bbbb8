"""What the pairs of a frame say of its cameras: where each is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.geometry.pinhole import FEWEST, Pinhole, fit_pinhole
from scenelift.samples.frame import Frame

_OFF = 2.0
"""Median distance of pixels from those of a pinhole camera, stored pixels, that rounding does not explain."""
_SQUEEZED = 1.1
"""Ratio of the focal lengths from which photos look squeezed."""
_CELL = 8
"""Edge of the squares of pixels in which points hide each other."""
_PATCH = 16
_SIDES = ("ahead", "to the left", "behind", "to the right")
"""Of a cloud whose x axis looks forward and y to the left."""


@dataclass(frozen=True)
class Camera:
    """One camera of a frame."""

    name: str
    pixels: NDArray[np.int64]
    """[M, 2] row and column of its pairs."""
    depth: NDArray[np.float64]
    """[M] metres along its axis, where its pairs tell where it is, else from the origin of the cloud."""
    found: Pinhole | None
    """The pinhole camera that explains the pairs; None: too few, or all in a plane."""
    image_size: tuple[int, int]

    @property
    def mistake(self) -> str:
        """What cannot be right about its pairs; empty: nothing."""
        if self.found is None:
            return ""
        if self.found.mirrored:
            return (
                f"{self.name} shows its points mirrored: rows and columns, or left and right, are exchanged"
            )
        behind = float((self.found.depth < 0).mean())
        return f"{behind:.0%} of the points of {self.name} lie behind it" if behind > 0.01 else ""

    @property
    def text(self) -> str:
        """Where it is and what it sees, in a line."""
        if self.found is None:
            few = f"fewer than {FEWEST}" if len(self.depth) < FEWEST else "all in a plane"
            return f"{len(self.depth):,} points, {few}, from which its place cannot be told"
        x, y, z = self.found.position
        width = 2 * np.degrees(np.arctan(self.image_size[1] / 2 / self.found.intrinsic[0, 0]))
        turn = round(float(np.degrees(np.arctan2(*self.found.forward[1::-1]))))
        side = _SIDES[round(turn / 90) % 4]
        return (
            f"{len(self.depth):,} points; at x {x:.2f}, y {y:.2f}, z {z:.2f} m, looks {side} "
            f"({turn} degrees), {width:.0f} degrees wide; pixels agree to {np.median(self.found.error):.1f}; "
            f"{hidden(self.pixels, self.depth):.0%} lie behind something nearer"
        )

    def advice(self) -> Iterator[str]:
        """What may be better, a line each."""
        if self.found is None or self.mistake:
            return
        if (off := float(np.median(self.found.error))) > _OFF:
            yield (
                f"{self.name}: pixels are {off:.0f} off those of any pinhole camera; undistort the photos first, "
                "or look for another size of photo in the calibration"
            )
        squeeze = self.found.intrinsic[0, 0] / self.found.intrinsic[1, 1]
        if not 1 / _SQUEEZED < squeeze < _SQUEEZED:
            height, width = self.image_size
            rows, columns = (
                round(side / _PATCH) or 1 for side in (height * squeeze**0.5, width / squeeze**0.5)
            )
            sizes = f"--image_size {rows * _PATCH} {columns * _PATCH}"
            yield f"{self.name}: photos are stretched {squeeze:.2f} times in width; {sizes} keeps their aspect"


def cameras(frame: Frame) -> list[Camera]:
    """The cameras of a frame, in its order."""
    return [_camera(frame, number) for number in range(len(frame.cameras))]


def _camera(frame: Frame, number: int) -> Camera:
    mine = frame.pair_pixels[:, 0] == number
    points = frame.points[frame.pair_points[mine]].astype(np.float64)
    pixels = frame.pair_pixels[mine, 1:].astype(np.int64)
    found = fit_pinhole(points, pixels[:, ::-1].astype(np.float64))
    depth = np.linalg.norm(points, axis=1) if found is None else found.depth
    return Camera(frame.cameras[number], pixels, depth, found, frame.image_size)


def hidden(pixels: NDArray[np.int64], depth: NDArray[np.float64]) -> float:
    """Share of points that lie behind a nearer one, by a metre and by three tenths, in a square of a few pixels: a
    LiDAR beside its cameras has some, one that is turned has many."""
    if not len(depth):
        return 0.0
    rows, columns = (pixels // _CELL).T
    _, cell = np.unique(rows * (columns.max() + 1) + columns, return_inverse=True)
    nearest = np.full(cell.max() + 1, np.inf)
    np.minimum.at(nearest, cell, depth)
    return float((depth > np.maximum(1.3 * nearest[cell], nearest[cell] + 1)).mean())
