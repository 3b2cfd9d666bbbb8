"""Pictures of phrase grounding: an image's best regions for each of its phrases, with their scores."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from scenelift.evaluation.pictures import FAINT, INK, PAPER, legend, save, sheet
from scenelift.geometry.boxes2d import iou
from scenelift.samples.caption import CaptionedImage
from trainables.phrases.scores import ENOUGH

SHOWN = 3
"""Regions drawn for each phrase."""
PHRASES = 6
"""Phrases drawn per image: the first different ones with a box."""
_RIGHT, _WRONG, _OTHER, _TRUTH = "#1a9850", "#d62728", "#2f6db0", "#111111"


def draw(path: Path, sample: CaptionedImage, scores: NDArray[np.float32]) -> None:
    """A panel per phrase: the photo, the true box (dashed), and the best regions with their scores.

    scores: [P, R] of all phrases of the image.
    """
    texts = [phrase.text.lower() for phrase in sample.phrases]
    boxed = [i for i, phrase in enumerate(sample.phrases) if phrase.box is not None]
    shown = [i for i in boxed if i == min(j for j in boxed if texts[j] == texts[i])][:PHRASES]
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    height, width = sample.size
    figure = sheet(4.0 * columns, (4.0 * height / width + 0.3) * rows + 0.35)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    photo = _photo(sample)
    for i, axis in zip(shown, axes, strict=False):  # shown first: zip must not consume an axis for nothing
        axis.imshow(photo)
        _panel(axis, sample, i, scores[i])
    for axis in list(axes):
        axis.axis("off")
    entries = [("true box", _TRUTH), ("first choice, right", _RIGHT), ("first choice, wrong", _WRONG)]
    legend(figure, [*entries, ("next choices", _OTHER)])
    save(figure, path)


def _panel(axis: Axes, sample: CaptionedImage, phrase: int, scores: NDArray[np.float32]) -> None:
    box = sample.phrases[phrase].box
    assert box is not None
    order = np.argsort(-scores, kind="stable")[:SHOWN]
    right = iou([box], sample.boxes[order[:1]])[0, 0] > ENOUGH
    colors = [_RIGHT if right else _WRONG, *[_OTHER] * (SHOWN - 1)]
    for place in range(len(order) - 1, -1, -1):
        region, color = sample.boxes[order[place]], colors[place]
        _box(axis, region, color, 2.6 if place == 0 else 1.1)
        label: Any = {"facecolor": color, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        side, x = ("left", region[0]) if place == 0 else ("right", region[2])
        text = f"{scores[order[place]]:.2f}"
        axis.text(x, region[1], text, fontsize=6, color=PAPER, bbox=label, ha=side)
    _box(axis, box, _TRUTH, 1.4, "--")
    axis.set_title(sample.phrases[phrase].text, fontsize=10, color=INK)
    axis.set(xlim=(-0.5, sample.size[1] - 0.5), ylim=(sample.size[0] - 0.5, -0.5), xticks=[], yticks=[])


def _box(
    axis: Axes, box: Sequence[float] | NDArray[np.float32], color: str, width: float, style: str = "-"
) -> None:
    x1, y1, x2, y2 = (float(side) for side in box)
    size = x2 - x1, y2 - y1
    axis.add_patch(Rectangle((x1, y1), *size, fill=False, edgecolor=color, linewidth=width, linestyle=style))


def _photo(sample: CaptionedImage) -> NDArray[np.uint8]:
    """The photo, or a blank image if none was kept."""
    if sample.photo is None:
        return np.full((*sample.size, 3), int(FAINT[1:3], 16), np.uint8)
    with Image.open(io.BytesIO(sample.photo)) as image:
        return np.asarray(image.convert("RGB"))
