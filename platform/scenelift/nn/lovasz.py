"""Lovász-softmax: a convex surrogate of the Jaccard loss (1 - IoU)."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Lovász extension of 1 - IoU over the entire batch, averaged over the classes that occur in the labels; 0
    without rows. logits: [N, C] float32; labels: [N] 0..C-1. Source: Berman et al., The Lovasz-Softmax loss,
    CVPR 2018, Algorithm 1, with "classes present", as in CLIP2Scene's fine-tuning (clip2scene.md 6.4)."""
    if not len(labels):
        return logits.sum() * 0  # not a constant: DDP needs a gradient for every parameter
    truth = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels[:, None], True)
    errors = (truth.float() - logits.float().softmax(1)).abs()
    ordered, order = errors.sort(dim=0, descending=True)
    losses = (ordered * _growth(truth.gather(0, order))).sum(0)
    present = truth.any(0)
    return torch.where(present, losses, 0).sum() / present.sum()


def _growth(truth: Tensor) -> Tensor:
    """[N, C] the loss of a class's IoU caused by each further row, if it is wrong. truth: [N, C] whether a row
    has the class; each column is sorted by descending error."""
    missed = truth.cumsum(0)
    size = missed[-1:]
    loss = 1 - (size - missed) / (size + (~truth).cumsum(0)).float()
    return torch.cat((loss[:1], loss.diff(dim=0)))
