"""Samples of phrase grounding: an image as regions, and the sentences that describe it, as phrases."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.geometry.boxes2d import Boxes

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*|'[a-z]+")


def words_of(text: str) -> list[str]:
    """The words of a phrase, lower-case, without punctuation: "that's a T-shirt!" -> that, 's, a, t-shirt."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Phrase:
    """A noun phrase of a sentence."""

    text: str
    """As written in the sentence; words are separated by spaces."""
    sentence: int
    """Index of its sentence among the image's, from 0."""
    types: tuple[str, ...] = ()
    """The data set's types of what it names (Flickr30K: people, clothing, ...); one or more, or none."""
    classes: tuple[tuple[int, float], ...] = ()
    """Detector classes 1..C that it names, with weights that sum to 1; empty if no class fits."""
    box: tuple[float, float, float, float] | None = None
    """The smallest box around all boxes annotated for it, pixels; None if there are none."""


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its sentences: all that training and evaluation of phrase grounding read.

    Shapes: R regions, D feature channels, C detector classes.
    """

    token: str
    """Unique name of the image in its data set."""
    size: tuple[int, int]
    """(height, width) of the image, pixels; boxes are inside it."""
    sentences: tuple[str, ...]
    """Plain text, without annotation."""
    phrases: tuple[Phrase, ...]
    """The phrases of all sentences, in the order of the text."""
    boxes: Boxes
    """[R, 4] proposed regions, most confident first: x1, y1, x2, y2, pixels."""
    features: NDArray[np.float16]
    """[R, D] the detector backbone's feature of each region."""
    posteriors: NDArray[np.float16] | None
    """[R, 1 + C] a detector's probabilities of background and classes for each region. Used in training only;
    None if there was no detector."""
    neighbours: NDArray[np.int16]
    """[R, K] the regions with the largest IoU with each: `scenelift.geometry.boxes2d.neighbours`."""
    photo: bytes | None = None
    """The encoded photo, of `size`; None if it was not kept."""

    def __post_init__(self) -> None:
        regions = len(self.boxes)
        assert self.boxes.shape == (regions, 4) and self.boxes.dtype == np.float32
        assert self.features.ndim == 2 and len(self.features) == regions and self.features.dtype == np.float16
        assert self.posteriors is None or self.posteriors.dtype == np.float16
        assert self.posteriors is None or len(self.posteriors) == regions
        assert self.neighbours.ndim == 2 and len(self.neighbours) == regions
        assert self.neighbours.dtype == np.int16
        assert all(0 <= phrase.sentence < len(self.sentences) for phrase in self.phrases)

    @property
    def scene(self) -> str:
        """Unit of hold-out: each image by itself."""
        return self.token
