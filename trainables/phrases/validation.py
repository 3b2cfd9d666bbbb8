"""What is measured of a student of phrases on training images that are held out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from scenelift.evaluation.scoring import Counts
from scenelift.samples.caption import CaptionedImage
from trainables.phrases.scores import PhraseScores
from trainables.phrases.student import Encoders

R1: Final = "validation/r1"
OBJECTIVES = {R1: "share of the phrases with a box whose best region is right"}


class PhraseMeasure:
    """R@1 on the held-out images."""

    names = (R1,)

    def count(self, student: Encoders, samples: Iterable[CaptionedImage]) -> Counts:
        """[2] phrases whose best region is right, and all phrases with a box."""
        scores = PhraseScores()
        for sample in samples:
            scores.add(sample, student.ground(sample))
        return {"right": np.array([sum((rank == 0).sum() for rank in scores.rank), len(scores.types)])}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The share of the summed counts."""
        right, phrases = counts["right"].tolist()
        return {R1: right / max(phrases, 1)}
