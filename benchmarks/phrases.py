"""Seconds and memory of CKD's similarities and losses at the paper's sizes.

`python -m benchmarks.phrases`: 32 sentences of 16 phrases, 32 images of 30, 100 and 200 regions, 512 channels;
forward and backward of the contrast and of distillation over 8 neighbours, from the encoders' outputs on. The
neighbours depend on the boxes alone and are computed once, when shards are made: what that takes is printed beside.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.spatial_temporal import peak_bytes
from scenelift.geometry.boxes2d import neighbours
from trainables.phrases import losses

IMAGES, PHRASES, CHANNELS, NEIGHBOURS = 32, 16, 512, 8


def step(said: Tensor, regions: Tensor, teacher: Tensor, near: Tensor) -> None:
    """One forward and backward of both losses."""
    own = torch.arange(IMAGES)
    sentence = own.repeat_interleave(PHRASES)
    mask = torch.ones(regions.shape[:2], dtype=torch.bool)
    cosines = torch.einsum("ne,ire->nir", F.normalize(said, dim=1), F.normalize(regions, dim=2))
    scores = 2 * losses.image_scores(losses.best_regions(cosines, mask), sentence, IMAGES)
    contrast = losses.contrastive(scores, own, losses.negatives(own, own))
    mine = cosines[torch.arange(len(said)), sentence]
    where = losses.near_choice(mine, mask[sentence], near[sentence])
    (contrast + losses.distillation(mine, teacher, where)).backward()


def measure(regions: int, before: int) -> None:
    """Print the best of five, and how far the process's peak then is above `before`, bytes."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (IMAGES, regions, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 200, corner.shape)], 2).astype(np.float32)
    began = time.perf_counter()
    near = torch.from_numpy(np.stack([neighbours(image, NEIGHBOURS) for image in boxes])).long()
    once = (time.perf_counter() - began) / IMAGES
    said = torch.randn(IMAGES * PHRASES, CHANNELS, requires_grad=True)
    features = torch.randn(IMAGES, regions, CHANNELS, requires_grad=True)
    teacher = torch.rand(IMAGES * PHRASES, regions)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        step(said, features, teacher, near)
        seconds.append(time.perf_counter() - began)
    print(
        f"{regions} regions: {min(seconds):.3f} s, {(peak_bytes() - before) / 1e9:.2f} GB a step; "
        f"neighbours {1000 * once:.1f} ms an image, once"
    )


def main() -> None:
    """Measure each number of regions."""
    torch.manual_seed(0)
    before = peak_bytes()
    for regions in (30, 100, 200):
        measure(regions, before)


if __name__ == "__main__":
    main()
