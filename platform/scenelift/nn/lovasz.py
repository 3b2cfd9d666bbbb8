"""The Lovasz-softmax loss: what a segmentation loses in intersection over union, made convex."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes that occur in the labels of the Lovasz extension of 1 - IoU.

    logits: [N, C] float32; labels: [N] 0..C-1. All rows are one image: IoU is that of the whole batch. Without
    rows the loss is 0. Source: Berman et al., The Lovasz-Softmax loss, CVPR 2018, Algorithm 1; "classes
    present" over the flattened batch, as CLIP2Scene fine-tunes (clip2scene.md 6.4).
    """
    if not len(labels):
        return logits.sum() * 0
    truth = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
    errors = (truth.float() - logits.float().softmax(1)).abs()
    ordered, order = errors.sort(dim=0, descending=True)
    losses = (ordered * _growth(truth.gather(0, order))).sum(0)
    present = truth.any(0)
    return torch.where(present, losses, 0).sum() / present.sum()


def _growth(truth: Tensor) -> Tensor:
    """[N, C] by how much each further row, counted as wrong, lowers a class's IoU.

    truth: [N, C] whether a row is of the class; in each column in the order in which they are counted.
    """
    missed = truth.cumsum(0)
    size = missed[-1:]
    loss = 1 - (size - missed) / (size + (~truth).cumsum(0)).float()
    return torch.cat((loss[:1], loss.diff(dim=0)))
