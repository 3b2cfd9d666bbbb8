"""Segmentation metrics, computed from one confusion matrix over all points of all frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.evaluation.config import Absent
from scenelift.samples.vocabulary import Vocabulary

Counts = NDArray[np.int64]


def confusion(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> Counts:
    """[C, C] counts, rows = truth 1..C, columns = prediction 1..C. Points of truth 0 are ignored, and so are
    predictions of 0 (none): to count as a miss, a predictor must predict some class."""
    known = (truth > 0) & (prediction > 0)
    cells = (truth[known].astype(np.int64) - 1) * classes + prediction[known] - 1
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class Scores:
    """Fractions computed from a confusion matrix."""

    iou: dict[str, float]
    """Intersection over union by class, for classes that occur in truth or prediction."""
    absent: tuple[str, ...]
    """Classes in neither truth nor prediction."""
    miou: float
    accuracy: float
    points: int
    """Number of scored points."""


def scores(matrix: Counts, vocabulary: Vocabulary, absent: Absent = "leave out") -> Scores:
    """IoU = TP / (row + column - TP) by class, their mean, and accuracy (clip2scene.md 6.2). A class in neither
    truth nor prediction is left out of the mean or, as in the paper's code, counts as 1."""
    hits = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - np.diag(matrix)
    occurs = union > 0
    values = np.divide(hits, union, out=np.ones(len(hits)), where=occurs)
    counted = values if absent == "count as one" else values[occurs]
    names = np.array(vocabulary.classes)
    return Scores(
        iou={str(name): float(value) for name, value in zip(names[occurs], values[occurs], strict=True)},
        absent=tuple(str(name) for name in names[~occurs]),
        miou=float(counted.mean()) if len(counted) else 0.0,
        accuracy=float(hits.sum() / matrix.sum()) if matrix.sum() else 0.0,
        points=int(matrix.sum()),
    )


def kappa(matrix: Counts) -> float:
    """Cohen's kappa of two labelings, from their [C, C] counts: (agreement - chance) / (1 - chance), where the
    class frequencies give the chance; 0 if there is only one class or no item."""
    total = matrix.sum()
    if not total:
        return 0.0
    agreed = np.trace(matrix) / total
    chance = float(matrix.sum(0) @ matrix.sum(1)) / float(total) ** 2
    return float((agreed - chance) / (1 - chance)) if chance < 1 else 0.0
