"""Plots of a training: the confusion matrix of its evaluation, and training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from scenelift.evaluation.pictures import FAINT, INK, PAPER, save, sheet
from scenelift.samples.vocabulary import Vocabulary

_LINE = "#2f6db0"
_SMOOTHED_OVER = 0.04  # share of a curve's points under one smoothing window


def confusion(path: Path, matrix: NDArray[np.int64], vocabulary: Vocabulary) -> None:
    """Heat map of a confusion matrix, percent of the points of each true class. matrix: [C, C] counts, rows =
    truth, columns = prediction. Classes without a true point are marked as absent."""
    classes = len(vocabulary.classes)
    assert matrix.shape == (classes, classes)
    totals = matrix.sum(axis=1)
    with np.errstate(invalid="ignore"):
        shares = matrix / totals[:, None]
    side = max(4.2, 1.9 + 0.47 * classes)
    figure = sheet(side + 0.9, side)
    axis = figure.subplots()
    axis.imshow(np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1)
    _name_classes(axis, vocabulary, totals)
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        color, weight = PAPER if share > 0.55 else INK, "bold" if row == column else "normal"
        text = f"{100 * share:.0f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color=color, weight=weight)
    save(figure, path)


def _name_classes(axis: Axes, vocabulary: Vocabulary, totals: NDArray[np.int64]) -> None:
    ticks = np.arange(len(vocabulary.classes))
    right = len(ticks) - 0.35
    names = [name.replace("_", " ") for name in vocabulary.classes]
    axis.set_yticks(ticks, names, fontsize=9, color=INK)
    axis.set_xticks(ticks, names, fontsize=9, color=INK, rotation=45, ha="right", rotation_mode="anchor")
    for row, total in enumerate(totals):
        axis.text(right, row, count(total), fontsize=8, va="center", color=INK if total else "#9aa1a9")
        if not total:
            axis.axhspan(row - 0.5, row + 0.5, facecolor="#f4f5f6", hatch="///", edgecolor=FAINT, linewidth=0)
            axis.get_yticklabels()[row].set_color("#9aa1a9")
    head: dict[str, Any] = {"xytext": (0, 6), "textcoords": "offset points", "annotation_clip": False}
    axis.annotate("points", (right, -0.5), **head, fontsize=8, color=INK)
    axis.set_title("where the points of each class went, percent", fontsize=11, color=INK)
    axis.set_ylabel("truth", fontsize=10, color=INK)
    axis.set_xlabel("prediction", fontsize=10, color=INK)
    axis.set_xticks(ticks[:-1] + 0.5, minor=True)
    axis.set_yticks(ticks[:-1] + 0.5, minor=True)
    axis.grid(which="minor", color=PAPER, linewidth=1)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)


def count(number: int) -> str:
    """A number of points, abbreviated: 950, 12.3k, 4.56M; "absent" for 0."""
    if number == 0:
        return "absent"
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def curves(path: Path, series: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> None:
    """A small plot per name, at most three per row: the raw values faint, lightly smoothed values over them.
    series: name -> (steps, values). Values that are not finite leave a gap."""
    assert series, "nothing to plot"
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    figure = sheet(4.2 * columns, 2.7 * rows)
    for place, (name, (steps, values)) in enumerate(series.items(), start=1):
        axis = figure.add_subplot(rows, columns, place)
        _curve(axis, name, np.asarray(steps), np.asarray(values, np.float64))
    save(figure, path)


def _curve(axis: Axes, name: str, steps: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    values = np.where(np.isfinite(values), values, np.nan)
    smooth = smoothed(values, round(_SMOOTHED_OVER * len(values) / 2))
    axis.plot(steps, values, color=_LINE, alpha=0.3, linewidth=0.8)
    axis.plot(steps, smooth, color=_LINE, linewidth=1.7, marker="o" if len(values) == 1 else None)
    finite = smooth[~np.isnan(smooth)]
    last = f"{finite[-1]:.4g}" if len(finite) else "no finite value"
    axis.set_title(f"{name.replace('_', ' ')}   {last}", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("step", fontsize=9, color=INK)
    axis.tick_params(labelsize=8, colors=INK)
    axis.grid(color=FAINT, linewidth=0.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))


def smoothed(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Moving average of the values up to `reach` steps away; NaN is left out and stays NaN."""
    missing, place = np.isnan(values), np.arange(len(values))
    total = np.concatenate([[0.0], np.cumsum(np.where(missing, 0.0, values))])
    number = np.concatenate([[0], np.cumsum(~missing)])
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(values))
    return np.where(missing, np.nan, (total[high] - total[low]) / np.maximum(number[high] - number[low], 1))
