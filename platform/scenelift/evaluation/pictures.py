"""Pictures of a labeled frame: bird's-eye views of its point cloud, and its camera images (without pyplot)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from scenelift.errors import StorageError
from scenelift.samples.vocabulary import Vocabulary

RIGHT, WRONG = 1, 2
"""Values of `errors`; 0 is a point without truth."""

INK, FAINT, PAPER = "#22262b", "#d3d7dc", "#ffffff"
_RIGHT_COLOR, _WRONG_COLOR = "#8fb8a0", "#d62728"
_JUDGEMENTS = [("right", _RIGHT_COLOR), ("wrong", _WRONG_COLOR)]
_LETTER = 0.6 / 72  # width of a letter, inches per point of font size


def errors(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N] labels and predictions -> [N] RIGHT, WRONG, or 0 where the truth is 0; a missing prediction is WRONG."""
    judged = np.where(truth == prediction, RIGHT, WRONG).astype(np.uint8)
    return np.where(truth == 0, np.uint8(0), judged)


def occurring(vocabulary: Vocabulary, *labels: NDArray[np.uint8]) -> list[int]:
    """The classes 1..C that occur in any of the label arrays, in the vocabulary's order."""
    counts = sum(np.bincount(array.ravel(), minlength=256) for array in labels)
    return [c for c in range(1, len(vocabulary.classes) + 1) if np.asarray(counts)[c]]


def sheet(width: float, height: float, gap: float = 0.06) -> Figure:
    """An empty figure with constrained layout, sizes in inches, contents `gap` apart."""
    figure = Figure(figsize=(width, height), dpi=160)
    figure.set_layout_engine("constrained", w_pad=gap, h_pad=gap, wspace=0, hspace=0)
    return figure


def legend_layout(entries: Sequence[tuple[str, str]], width: float, size: float = 9.0) -> tuple[int, float]:
    """Number of legend columns that fit into a figure, and the legend's height; sizes in inches."""
    widest = max((len(name) for name, _ in entries), default=0) * size * _LETTER + 4.0 * size / 72
    columns = max(1, min(len(entries), int(width / widest)))
    return columns, -(-len(entries) // columns) * 1.6 * size / 72 + 0.1


def legend(figure: Figure, entries: Sequence[tuple[str, str]], size: float = 9.0) -> None:
    """Legend of colored dots below a figure; entries: (name, color) each."""
    handles: list[Artist] = [
        Line2D([], [], marker="o", linestyle="", markersize=size * 0.8, color=color, markeredgewidth=0)
        for _, color in entries
    ]
    figure.legend(
        handles,
        [name for name, _ in entries],
        loc="outside lower center",
        ncols=legend_layout(entries, figure.get_figwidth(), size)[0],
        fontsize=size,
        frameon=False,
        labelcolor=INK,
        handletextpad=0.3,
        columnspacing=1.6,
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; StorageError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", facecolor=PAPER, metadata={"Software": None})
    except OSError as error:
        raise StorageError(f"cannot write the picture {path}: {error.strerror}") from error


def birds_eye(
    path: Path,
    points: NDArray[np.float32],
    panels: Mapping[str, NDArray[np.uint8]],
    vocabulary: Vocabulary,
    extent: float,
    judged: NDArray[np.uint8] | None = None,
) -> None:
    """Side-by-side views from above, all at one scale, with one legend of the classes that occur. points: [N,
    3] metres in the LiDAR frame; the view extends `extent` metres to each side of the sensor. panels: title ->
    [N] labels 0..C, 0 in light grey. judged: [N] of `errors`, drawn as a last panel. Higher points are drawn
    over lower ones, labeled ones over others."""
    inside = np.abs(points[:, :2]).max(axis=1, initial=0) <= extent
    points, panels = points[inside], {title: labels[inside] for title, labels in panels.items()}
    drawn = [(title, labels, palette(vocabulary)) for title, labels in panels.items()]
    entries = [*class_entries(vocabulary, occurring(vocabulary, *panels.values())), ("no label", FAINT)]
    if judged is not None:
        drawn.append(_error_map("errors", judged[inside]))
        entries += _JUDGEMENTS
    _panels(path, points, [drawn], entries, extent)


def error_maps(
    path: Path, points: NDArray[np.float32], judged: Mapping[str, NDArray[np.uint8]], extent: float
) -> None:
    """The errors of several predictions of one cloud, side by side from above (CLIP2Scene's Fig. 6). judged: title
    -> [N] of `errors`; points and extent as of `birds_eye`."""
    inside = np.abs(points[:, :2]).max(axis=1, initial=0) <= extent
    drawn = [_error_map(title, errors[inside]) for title, errors in judged.items()]
    _panels(path, points[inside], [drawn], [*_JUDGEMENTS, ("no label", FAINT)], extent)


def class_against_rest(
    path: Path,
    points: NDArray[np.float32],
    panels: Mapping[str, NDArray[np.uint8]],
    vocabulary: Vocabulary,
    classes: Sequence[int],
    extent: float,
) -> None:
    """One class in color and everything else in grey, from above: a row for each of `classes` (1..C), a column for
    each of panels (CLIP2Scene's Fig. 5). panels: title -> [N] labels 0..C; the rest as of `birds_eye`."""
    inside = np.abs(points[:, :2]).max(axis=1, initial=0) <= extent
    rows, colors = [], palette(vocabulary)
    for number in classes:
        name = vocabulary.classes[number - 1].replace("_", " ")
        of_class = {title: np.where(labels == number, labels, 0)[inside] for title, labels in panels.items()}
        rows.append([(f"{name}: {title}", labels, colors) for title, labels in of_class.items()])
    _panels(path, points[inside], rows, [*class_entries(vocabulary, classes), ("the rest", FAINT)], extent)


Panel = tuple[str, NDArray[np.uint8], ListedColormap]
"""Title, [N] numbers of colors, and the colors."""


def _error_map(title: str, judged: NDArray[np.uint8]) -> Panel:
    share = (judged == WRONG).sum() / max(1, (judged > 0).sum())
    colors = ListedColormap([FAINT, _RIGHT_COLOR, _WRONG_COLOR])
    return f"{title}: {share:.0%} of the labeled", judged, colors


def _panels(
    path: Path,
    points: NDArray[np.float32],
    rows: Sequence[Sequence[Panel]],
    entries: Sequence[tuple[str, str]],
    extent: float,
) -> None:
    """Views of one cloud from above at one scale, in rows of equal length, above a legend."""
    columns = len(rows[0])
    width = max(3.6 * columns, 5.4)
    height = (width / columns + 0.2) * len(rows) + legend_layout(entries, width)[1]
    figure = sheet(width, height)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis, (title, labels, colors) in zip(axes.flat, itertools.chain(*rows), strict=True):
        _from_above(axis, points, labels, colors, extent, title)
    legend(figure, entries)
    save(figure, path)


def palette(vocabulary: Vocabulary) -> ListedColormap:
    """Color of each label 0..C; 0 is light grey."""
    return ListedColormap([FAINT, *map(_hex, vocabulary.colors)])


def class_entries(vocabulary: Vocabulary, classes: Sequence[int]) -> list[tuple[str, str]]:
    """Legend entries of some classes 1..C."""
    return [(vocabulary.classes[c - 1].replace("_", " "), _hex(vocabulary.colors[c - 1])) for c in classes]


def _hex(rgb: tuple[int, int, int]) -> str:
    return f"#{bytes(rgb).hex()}"


def _from_above(
    axis: Axes,
    points: NDArray[np.float32],
    labels: NDArray[np.uint8],
    colors: ListedColormap,
    extent: float,
    title: str,
) -> None:
    order = np.lexsort((points[:, 2], labels > 0))
    x, y = points[order, :2].T
    axis.scatter(x, y, c=colors(labels[order]), s=1.6, marker="o", linewidths=0)
    axis.plot(0, 0, marker="+", color=INK, markersize=9, markeredgewidth=1.4)
    axis.set_title(title, fontsize=11, color=INK)
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_color(FAINT)
    _scale_bar(axis, extent)


def _scale_bar(axis: Axes, extent: float) -> None:
    decade = 10.0 ** np.floor(np.log10(extent / 2))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= extent / 2)
    left, low = -0.93 * extent, -0.93 * extent
    axis.plot([left, left + length], [low, low], color=INK, linewidth=2, solid_capstyle="butt", zorder=4)
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 1}
    axis.text(left, low + 0.03 * extent, f"{length:g} m", fontsize=8, color=INK, bbox=box, zorder=3)


def camera_labels(
    path: Path,
    images: NDArray[np.uint8],
    cameras: Sequence[str],
    dense_labels: NDArray[np.uint8],
    pair_pixels: NDArray[np.int16],
    pair_labels: NDArray[np.uint8],
    vocabulary: Vocabulary,
) -> None:
    """A column per camera: the photo, the teacher's labels over it, and the student's labels of its points.
    images: [V, H, W, 3]; dense_labels: [V, h, w] 0..C of the teacher's patches, which tile the image;
    pair_pixels: [M, 3] (image, row, column); pair_labels: [M] 0..C of the student. Label 0 is not drawn."""
    views, height, width = images.shape[:3]
    rows = ("photo", "teacher's patches", "student's points")
    entries = class_entries(vocabulary, occurring(vocabulary, dense_labels, pair_labels))
    across = max(2.7 * views, 5.4)
    down = across / views * height / width * len(rows) + 0.3 + legend_layout(entries, across)[1]
    figure = sheet(across + 0.25, down, gap=0.03)
    axes = figure.subplots(len(rows), views, squeeze=False)
    colors = palette(vocabulary)
    for view, column in enumerate(axes.T):
        dots = (pair_pixels[:, 0] == view) & (pair_labels > 0)
        _, down_pixels, across_pixels = pair_pixels[dots].T
        column[0].imshow(images[view])
        title = cameras[view].lower().removeprefix("cam_").replace("_", " ")
        column[0].set_title(title, fontsize=10, color=INK)
        column[1].imshow(_faded(images[view], 0.1))
        rgba = colors(dense_labels[view])
        rgba[..., 3] = np.where(dense_labels[view] > 0, 0.55, 0.0)
        column[1].imshow(rgba, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")
        column[2].imshow(_faded(images[view], 0.55))
        dot_colors = colors(pair_labels[dots])
        column[2].scatter(across_pixels, down_pixels, c=dot_colors, s=3.0, marker="o", linewidths=0)
    for axis in axes.flat:
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, text in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(text, fontsize=10, color=INK)
    legend(figure, entries)
    save(figure, path)


def _faded(image: NDArray[np.uint8], amount: float) -> NDArray[np.uint8]:
    grey = image.mean(axis=2, keepdims=True)
    return (image * (1 - amount) + (0.5 * grey + 127) * amount).clip(0, 255).astype(np.uint8)
