"""Superpixels of stored images: small patches of one color, computed once, when shards are written."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.frame import Frame
from scenelift.samples.images import decode, encode_numbers

COMPACTNESS = 6.0
"""Weight of spatial against color distance; skimage scales it by segment size, so it has no unit."""
SIGMA = 3.0
"""Standard deviation of the preceding blur, pixels of a `PHOTO`; scaled down for smaller images."""
PHOTO = (900, 1600)
"""(height, width) of the photos that `SIGMA` was chosen for: nuScenes'."""


def slic(image: NDArray[np.uint8], segments: int) -> NDArray[np.int64]:
    """[H, W, 3] RGB -> [H, W] superpixel of each pixel, 0.. without gaps; deterministic.

    About `segments` of them, usually fewer, since small ones join a neighbour. Source: SLIC as SLidR uses it
    (clip2scene.md 4.5), but on the stored image instead of the 1600x900 photo.
    """
    from skimage.segmentation import slic as skimage_slic  # slow, not needed without superpixels

    height, width = image.shape[:2]
    labels = skimage_slic(
        image,
        n_segments=segments,
        compactness=COMPACTNESS,
        sigma=(SIGMA * height / PHOTO[0], SIGMA * width / PHOTO[1]),
        start_label=0,
        channel_axis=-1,
    )
    used = np.bincount(labels.ravel()) > 0
    return (np.cumsum(used) - 1)[labels]


def with_superpixels(frame: Frame, segments: int) -> Frame:
    """The frame with about `segments` superpixels per image; FrameError for a broken image."""
    encoded = tuple(encode_numbers(slic(decode(image), segments)) for image in frame.images)
    return dataclasses.replace(frame, superpixels=encoded)
