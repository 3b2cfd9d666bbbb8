"""The losses of CLIP2Scene, one function each, and the random switch of its self-training.

Shapes: M pairs of a point and a pixel, D channels of the text space, C classes, G grid cells. A pair has the
student's features of its point, the teacher's features and label of its pixel, and the cell of its point in the
merged, un-augmented clouds.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.geometry.segments import (
    segment_first,
    segment_rank,
    segment_size,
    segment_softmax,
    segment_sum,
)

SLOTS = 8
"""Slots of a cell in the paper's code, which averages over all of them, filled or not."""


def semantic_consistency(
    logits: Tensor, labels: Tensor, temperature: float, class_weight_power: float
) -> Tensor:
    """Cross-entropy of each pair's point against the label of its pixel.

    logits: [M, C] point feature . text of each class, float32; labels: [M] 0..C-1 from the teacher. A point
    in two cameras counts twice. A pair's weight is (share of its class among the labels) ** -class_weight_power,
    and the sum is divided by the sum of weights. Without pairs the loss is 0. Source: clip2scene.md 4.1, as in
    the paper's code, for temperature 1 and class_weight_power 0.
    """
    if not len(labels):
        return logits.sum() * 0  # not a constant: DDP needs a gradient for every parameter
    share = torch.bincount(labels, minlength=logits.shape[1]).clamp(min=1) / len(labels)
    return F.cross_entropy(logits.float() / temperature, labels, weight=share.float() ** -class_weight_power)


def semantic_contrast(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """The paper's Eq. 1: for each class, its points against all others, with the class's text as anchor.

    Arguments as in `semantic_consistency`. Sum over the classes with both positive and negative points of
    -log(sum of exp(logit / temperature) over the positives / the same over the negatives).
    """
    own = F.one_hot(labels, logits.shape[1]).bool()
    scaled = logits.float() / temperature
    counted = own.any(0) & ~own.all(0)
    if not counted.any():
        return logits.sum() * 0
    scaled, own = scaled[:, counted], own[:, counted]
    positive = scaled.masked_fill(~own, -torch.inf).logsumexp(0)
    negative = scaled.masked_fill(own, -torch.inf).logsumexp(0)
    return (negative - positive).sum()


def semantic_divergence(logits: Tensor, scores: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student's classes from the teacher's, mean over pairs (paper, Table 3).

    logits: [M, C] of the student; scores: [M, C] cosines of the teacher; both divided by the temperature.
    """
    if not len(logits):
        return logits.sum() * 0
    student, teacher = (F.log_softmax(z.float() / temperature, dim=1) for z in (logits, scores))
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def spatial_temporal(features: Tensor, labels: Tensor, cell: Tensor, text: Tensor, cap: int | None) -> Tensor:
    """Pulls the points of a cell to their mean, weighted by their similarity to the cell's class.

    features: [M, D] of the local head, float32, not normalized; labels: [M] the teacher's; cell: [M] 0..G-1;
    text: [C, D]. The class of a cell is the label of its first pair. The first `cap` pairs of a cell are used;
    None: all. Mean of 1 - sigmoid(f . p) over `SLOTS` slots per cell, of which empty ones give 0.5.
    Source: clip2scene.md 4.2, as in the paper's code with a cap of 8.
    """
    if not len(cell):
        return features.sum() * 0
    if cap is not None:
        taken = segment_rank(cell) < cap
        features, labels, cell = features[taken], labels[taken], cell[taken]
    count = int(cell.max()) + 1
    label = labels[segment_first(cell, count)]
    scores = (features @ text.T).gather(1, label[cell, None]).squeeze(1)
    weights = segment_softmax(scores, cell, count)
    fused = segment_sum(weights[:, None] * features, cell, count)
    apart = _apart(features, fused, cell).sum()
    empty = (SLOTS - segment_size(cell, count)).clamp(min=0).sum()
    return (apart + 0.5 * empty) / (SLOTS * count)


def spatial_temporal_joint(
    features: Tensor, pixels: Tensor, labels: Tensor, cell: Tensor, text: Tensor, sharpness: float
) -> Tensor:
    """The paper's Eq. 2-4: the mean is over a cell's pixel and point features together.

    pixels: [M, D] the teacher's features of the pairs' pixels; other arguments as in `spatial_temporal`. Each
    pair is compared with the text of its own label; scores are divided by `sharpness` (lambda). Sum over the
    pairs of 1 - sigmoid(f . p), divided by the number of cells.
    """
    if not len(cell):
        return (features.sum() + pixels.sum()) * 0
    count = int(cell.max()) + 1
    both = torch.cat([pixels, features])
    scores = (both @ text.T).gather(1, labels.repeat(2)[:, None]).squeeze(1) / sharpness
    weights = segment_softmax(scores, cell.repeat(2), count)
    fused = segment_sum(weights[:, None] * both, cell.repeat(2), count)
    return _apart(features, fused, cell).sum() / count


def _apart(features: Tensor, fused: Tensor, cell: Tensor) -> Tensor:
    """[M] 1 - sigmoid of the dot product of each pair's features with its cell's fused feature."""
    return torch.sigmoid(-torch.linalg.vecdot(features, fused[cell]))


def image_cosine(features: Tensor, pixels: Tensor) -> Tensor:
    """Mean of 1 - cosine between a pair's point and its pixel, both [M, D] (clip2scene.md 4.3, ScanNet)."""
    if not len(features):
        return (features.sum() + pixels.sum()) * 0
    return (1 - F.cosine_similarity(features, pixels, dim=1)).mean()


def switched_labels(
    logits: Tensor,
    labels: Tensor,
    probability: float,
    scope: Literal["batch", "point"],
    threshold: float,
    seed: int,
) -> Tensor:
    """[M] targets of a step of self-training: the teacher's labels, or the student's pseudo-labels where switched.

    With the given probability the entire batch switches, or each pair independently. A pair whose best class has
    a softmax below the confidence threshold keeps the teacher's label. `seed` determines the draw, the same on
    all ranks. Source: clip2scene.md 4.4.
    """
    rng = np.random.default_rng(seed)
    draws = rng.random(len(labels)) if scope == "point" else np.full(len(labels), rng.random())
    switched = torch.from_numpy(draws < probability).to(labels.device)
    confidence, own = logits.detach().softmax(1).max(1) if len(labels) else (logits.sum(1), labels)
    return torch.where(switched & (confidence >= threshold), own, labels)


def unpaired_consistency(logits: Tensor, weights: Tensor, threshold: float) -> Tensor:
    """Cross-entropy of points that no camera sees against their pseudo-labels (clip2scene.md 4.4).

    logits: [V, C] of voxels; weights: [V] unpaired points in each. The pseudo-label is the student's best class;
    points whose best class has a softmax below the confidence threshold are left out.
    """
    if not len(logits):
        return logits.sum() * 0
    confidence, own = logits.detach().softmax(1).max(1)
    weights = torch.where(confidence >= threshold, weights.float(), 0.0)
    each = F.cross_entropy(logits.float(), own, reduction="none")
    return (weights * each).sum() / weights.sum().clamp(min=1)
