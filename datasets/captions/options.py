"""Shared by readers of captioned images: their options, and the assembly of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import Regions
from datasets.common.files import image_size, read_bytes
from scenelift.errors import FrameError
from scenelift.geometry.boxes2d import area, clip, neighbours
from scenelift.samples.caption import CaptionedImage, Phrase
from scenelift.samples.images import fit

Box = tuple[float, float, float, float]
_LARGEST = 1e6
"""Coordinates in images are below it, pixels."""


def captioned_image(
    token: str,
    size: tuple[int, int],
    sentences: Sequence[str],
    phrases: Sequence[Phrase],
    regions: Regions,
    options: CaptionOptions,
    photo: bytes | None,
    left_out: Mapping[str, int] | None = None,
) -> CaptionedImage:
    """Assemble an image from the content of its files; boxes of phrases are cut at the image's edges.

    left_out: what the reader left out of the files, besides the boxes and regions outside of the image.
    """
    kept = regions.most_confident(options.regions)
    inside = [_inside(phrase, size) for phrase in phrases]
    lost = sum(phrase.box is not None for phrase in phrases) - sum(one.box is not None for one in inside)
    return CaptionedImage(
        token=token,
        size=size,
        sentences=tuple(sentences),
        phrases=tuple(inside),
        boxes=kept.boxes,
        features=_half(token, kept.features),
        posteriors=kept.posteriors.astype(np.float16),
        neighbours=neighbours(kept.boxes, options.neighbours),
        photo=photo,
        left_out={
            "regions outside of their image": regions.outside,
            "boxes of phrases outside of their image": lost,
            **(left_out or {}),
        },
    )


def ordered(name: str, corners: Sequence[float]) -> Box:
    """A phrase's box x1, y1, x2, y2 with its sides in order; a side of no length gets the one pixel that it is.

    FrameError for corners that are not four finite numbers of pixels.
    """
    box = np.asarray(corners, np.float64)
    if box.shape != (4,) or not (np.abs(box) < _LARGEST).all():
        raise FrameError(f"{name} has a box that is not four numbers of pixels: {list(corners)}")
    low, high = np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])
    high = np.where(high == low, low + 1, high)
    return (*low.tolist(), *high.tolist())


def _inside(phrase: Phrase, size: tuple[int, int]) -> Phrase:
    """The phrase with its box cut at the image's edges; without a box if nothing remains."""
    if phrase.box is None:
        return phrase
    box = clip([phrase.box], size)
    x1, y1, x2, y2 = box[0].tolist()
    return replace(phrase, box=(x1, y1, x2, y2) if area(box)[0] > 0 else None)


def _half(token: str, features: np.ndarray) -> np.ndarray:
    if np.abs(features).max(initial=0) > np.finfo(np.float16).max:
        raise FrameError(f"{token} has features beyond the range of 16 bits")
    return features.astype(np.float16)


def read_photo(folder: Path, name: str, size: tuple[int, int]) -> bytes:
    """The photo's bytes; FrameError if it is missing, broken, or not of (height, width) `size`."""
    data = read_bytes(folder, name)
    try:
        found = image_size(data)
    except FrameError as error:
        raise FrameError(f"{name} is not an image: {error}") from None
    if found != size:
        raise FrameError(f"{name} has {found} pixels (height, width), its annotation says {size}")
    try:
        return fit(data, size, size)
    except FrameError as error:
        raise FrameError(f"{name}: {error}") from None
