"""What grounding the phrases of an image costs."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from scenelift.samples.caption import CaptionedImage
from trainables.phrases.student import Encoders


@dataclass(frozen=True)
class Cost:
    """What grounding the phrases of one image takes, features given; no detector is asked."""

    phrases: int
    regions: int
    multiplications: int
    milliseconds: float

    def __str__(self) -> str:
        return (
            f"grounding {self.phrases} phrases among {self.regions} regions: {self.multiplications / 1e6:.1f} "
            f"million multiplications, {self.milliseconds:.1f} ms; no detector is asked"
        )


def cost(student: Encoders, sample: CaptionedImage) -> Cost:
    """Measured on an image without the detector's posteriors, the second time."""
    sample = dataclasses.replace(sample, posteriors=None)
    student.ground(sample)
    began = time.perf_counter()
    student.ground(sample)
    milliseconds = 1000 * (time.perf_counter() - began)
    regions, phrases = len(sample.boxes), len(sample.phrases)
    return Cost(phrases, regions, student.operations(regions, phrases), milliseconds)
