"""Superpixels of stored images: small patches of one color, made once, when shards are written."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from scenelift.samples.frame import Frame
from scenelift.samples.images import decode, encode_numbers

COMPACTNESS = 6.0
"""How much nearness counts beside likeness of color; skimage measures it in segments, so it has no scale."""
SIGMA = 3.0
"""Standard deviation of the blur before, pixels of a `PHOTO`; smaller images are blurred as much less."""
PHOTO = (900, 1600)
"""(height, width) of the photos that `SIGMA` was chosen for: nuScenes'."""


def slic(image: NDArray[np.uint8], segments: int) -> NDArray[np.int64]:
    """[H, W, 3] RGB -> [H, W] superpixel of each pixel, 0.. without gaps; the same for the same image.

    About `segments` of them, mostly fewer, since small ones join a neighbour. Source: SLIC as SLidR uses it
    (clip2scene.md 4.5), but on the image as it is stored instead of the 1600x900 photo.
    """
    from skimage.segmentation import slic as skimage_slic  # a second that jobs without superpixels can spare

    height, width = image.shape[:2]
    found = skimage_slic(
        image,
        n_segments=segments,
        compactness=COMPACTNESS,
        sigma=(SIGMA * height / PHOTO[0], SIGMA * width / PHOTO[1]),
        start_label=0,
        channel_axis=-1,
    )
    used = np.bincount(found.ravel()) > 0
    return (np.cumsum(used) - 1)[found]


def with_superpixels(frame: Frame, segments: int) -> Frame:
    """The frame with about so many superpixels of each of its images; FrameError for a broken image."""
    made = tuple(encode_numbers(slic(decode(image), segments)) for image in frame.images)
    return dataclasses.replace(frame, superpixels=made)
