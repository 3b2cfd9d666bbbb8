"""Seconds and memory of spatial-temporal consistency at the paper's sizes, against the authors' packing.

`python -m benchmarks.spatial_temporal`: 40,000 pairs with 512 channels in 15,000 cells, forward and backward. The
authors pack the pairs into a dense tensor of cells x 8 places x 1025 values; what that tensor alone takes is
printed beside.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables.distill.losses import SLOTS, spatial_temporal, spatial_temporal_joint

PAIRS, CHANNELS, CELLS, CLASSES = 40_000, 512, 15_000, 16


def peak_bytes() -> int:
    """Most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name: str, loss: Callable[[Tensor], Tensor], features: Tensor) -> None:
    """Print the best of three, and by how much the first call raised the process's peak."""
    before, seconds = peak_bytes(), []
    for _ in range(3):
        features.grad = None
        began = time.perf_counter()
        loss(features).backward()
        seconds.append(time.perf_counter() - began)
    print(
        f"{name}: {min(seconds):.2f} s (bound 1.5 s), {(peak_bytes() - before) / 1e9:.2f} GB (bound 1.5 GB)"
    )


def main() -> None:
    """Measure each form."""
    torch.manual_seed(0)
    features = (torch.randn(PAIRS, CHANNELS) * 0.05).requires_grad_()
    pixels, text = (F.normalize(torch.randn(rows, CHANNELS), dim=1) for rows in (PAIRS, CLASSES))
    labels = torch.randint(0, CLASSES, (PAIRS,))
    cell = torch.unique(torch.randint(0, CELLS, (PAIRS,)), return_inverse=True)[1]
    measure("no cap", lambda p: spatial_temporal(p, labels, cell, text, None), features)
    measure("at most 8 pairs a cell", lambda p: spatial_temporal(p, labels, cell, text, SLOTS), features)
    measure(
        "with pixel features", lambda p: spatial_temporal_joint(p, pixels, labels, cell, text, 1.0), features
    )
    packed = (int(cell.max()) + 1) * SLOTS * (2 * CHANNELS + 1) * 4
    print(f"the authors' packed tensor, once, without gradients: {packed / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
