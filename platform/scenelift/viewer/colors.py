"""Colors of points, with what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.vocabulary import Vocabulary

Color = tuple[int, int, int]
"""RGB 0..255."""
GREY: Color = (105, 110, 118)
"""Points of which nothing is said; on a dark ground."""
RIGHT, WRONG = (120, 170, 140), (230, 50, 45)
Ramp = tuple[Color, ...]
VIRIDIS: Ramp = ((68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37))
"""Its brightness grows evenly."""
GLOW: Ramp = ((62, 66, 74), (84, 78, 104), (140, 84, 130), (205, 98, 100), (245, 150, 66), (255, 226, 90))
"""From what does not matter to what stands out."""


@dataclass(frozen=True)
class Coloring:
    """Colors of N points."""

    colors: NDArray[np.uint8]
    """[N, 3] RGB."""
    legend: tuple[tuple[str, Color], ...]
    """What each color means."""
    note: str = ""
    """A line below the legend."""


def by_class(labels: NDArray[np.integer], vocabulary: Vocabulary) -> Coloring:
    """Of labels [N] 0..C; 0 is grey."""
    table = np.array([GREY, *vocabulary.colors], np.uint8)
    counts = np.bincount(labels, minlength=len(table))
    order = [c for c in np.argsort(-counts[1:], kind="stable") + 1 if counts[c]]
    legend = [
        (_share(vocabulary.classes[c - 1], counts[c], len(labels)), vocabulary.colors[c - 1]) for c in order
    ]
    if counts[0]:
        legend.append((_share("no label", counts[0], len(labels)), GREY))
    return Coloring(table[labels], tuple(legend))


def by_verdict(
    judged: NDArray[np.bool_], wrong: NDArray[np.bool_], right_name: str, wrong_name: str
) -> Coloring:
    """[N] whether each point is judged, and whether it is then wrong (or in disagreement)."""
    colors = np.full((len(judged), 3), GREY, np.uint8)
    colors[judged], colors[judged & wrong] = RIGHT, WRONG
    total, bad = int(judged.sum()), int((judged & wrong).sum())
    legend = [(_share(wrong_name, bad, total), WRONG), (_share(right_name, total - bad, total), RIGHT)]
    if total < len(judged):
        legend.append((f"not compared ({len(judged) - total:,} points)", GREY))
    return Coloring(colors, tuple(legend))


def by_value(
    values: NDArray[np.floating],
    low: float,
    high: float,
    unit: str = "",
    colors: Ramp = VIRIDIS,
) -> Coloring:
    """[N] numbers from low (dark) to high (bright); grey where they are not finite."""
    finite = np.isfinite(values)
    shares = np.clip((np.where(finite, values, low) - low) / max(high - low, 1e-12), 0, 1)
    found = np.where(finite[:, None], ramp(shares, colors), np.array(GREY, np.uint8)).astype(np.uint8)
    marks = np.linspace(0, 1, len(colors))
    legend = [
        (f"{low + mark * (high - low):.3g} {unit}".strip(), _color(ramp(np.array([mark]), colors)[0]))
        for mark in marks
    ]
    return Coloring(found, tuple(legend))


def ramp(shares: NDArray[np.floating], colors: Ramp) -> NDArray[np.uint8]:
    """[N] of 0..1 -> [N, 3] RGB."""
    places = np.linspace(0, 1, len(colors))
    channels = np.array(colors, np.float64).T
    return np.stack([np.interp(shares, places, channel) for channel in channels], 1).astype(np.uint8)


def limits(
    values: NDArray[np.floating], quantiles: tuple[float, float] = (0.02, 0.98)
) -> tuple[float, float]:
    """Low and high ends for `by_value` that leave out a few stray values."""
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, quantiles).tolist() if len(finite) else (0.0, 1.0)
    return low, high


def _share(name: str, count: int, total: int) -> str:
    return f"{name.replace('_', ' ')} {count / max(1, total):.1%}"


def _color(rgb: Sequence[int] | NDArray[np.uint8]) -> Color:
    red, green, blue = (int(value) for value in rgb)
    return red, green, blue
