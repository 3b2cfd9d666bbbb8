"""Pictures of a frame's pairs: its points on its photos, by depth and by label. They show whether a calibration is
right, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from scenelift.evaluation import pictures
from scenelift.samples.vocabulary import Vocabulary

_DEPTHS = (2, 5, 10, 20, 40, 80)
"""Metres that the legend names."""
_ACROSS = 3
"""Photos beside one another."""


def points_on_photos(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    cameras: Sequence[str],
    pixels: Sequence[NDArray[np.integer]],
    depths: Sequence[NDArray[np.floating]],
) -> None:
    """Each photo [H, W, 3] with its points, near ones red and far ones blue; pixels: [M, 2] (row, column) of each
    camera's points; depths: [M] metres."""
    colors, scale = matplotlib.colormaps["turbo_r"], LogNorm(_DEPTHS[0], _DEPTHS[-1], clip=True)
    entries = [(f"{each} m", matplotlib.colors.to_hex(colors(scale(each)))) for each in _DEPTHS]
    dots = [colors(scale(np.maximum(depth, _DEPTHS[0]))) for depth in depths]
    order = [np.argsort(-depth, kind="stable") for depth in depths]  # near points over far ones
    _draw(path, images, cameras, pixels, dots, order, entries)


def labels_on_photos(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    cameras: Sequence[str],
    pixels: Sequence[NDArray[np.integer]],
    labels: Sequence[NDArray[np.uint8]],
    vocabulary: Vocabulary,
) -> None:
    """The same by label: [M] 0..C of each camera's points; 0 is not drawn."""
    colors = pictures.palette(vocabulary)
    entries = pictures.class_entries(vocabulary, pictures.occurring(vocabulary, *labels))
    dots = [colors(each) for each in labels]
    shown = [np.flatnonzero(each) for each in labels]
    _draw(path, images, cameras, pixels, dots, shown, entries)


def _draw(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    cameras: Sequence[str],
    pixels: Sequence[NDArray[np.integer]],
    dots: Sequence[NDArray[np.floating]],
    order: Sequence[NDArray[np.integer]],
    entries: Sequence[tuple[str, str]],
) -> None:
    """dots: [M, 4] color of each point; order: which are drawn, the last on top."""
    across = min(_ACROSS, len(images))
    down = -(-len(images) // across)
    height, width = images[0].shape[:2]
    inches = 5.0 * across
    panel = inches / across * height / width + 0.25
    figure: Figure = pictures.sheet(
        inches, panel * down + pictures.legend_layout(entries, inches)[1], gap=0.03
    )
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for number, axis in enumerate(axes[: len(images)]):
        rows, columns = np.asarray(pixels[number])[order[number]].T
        axis.imshow(images[number])
        axis.scatter(columns, rows, c=dots[number][order[number]], s=1.2, marker="o", linewidths=0)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
        axis.set_title(cameras[number], fontsize=10, color=pictures.INK)
    pictures.legend(figure, entries)
    pictures.save(figure, path)
