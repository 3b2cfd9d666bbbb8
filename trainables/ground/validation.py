"""What is measured of a grounder on training rooms that are held out; what sweeps choose by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scenelift.evaluation.scoring import Counts
from scenelift.samples.room import Room
from trainables.ground.model import Grounder
from trainables.ground.scores import MEASURES, Protocol, score

MEASURE: dict[Protocol, str] = {protocol: f"validation/{names[0]}" for protocol, names in MEASURES.items()}
"""Protocol -> its metric."""
OBJECTIVES = {
    MEASURE[
        "detected"
    ]: "share of sentences whose object is found among detected boxes, by an overlap of 0.25",
    MEASURE["instances"]: "share of sentences whose object is found among the true instances",
}


@dataclass(frozen=True)
class RoomMeasure:
    """The share of sentences whose object the student finds."""

    protocol: Protocol

    @property
    def names(self) -> tuple[str, ...]:
        """The one metric that the protocol has."""
        return (MEASURE[self.protocol],)

    def count(self, student: Grounder, samples: Iterable[Room]) -> Counts:
        """[2] hits and sentences."""
        found = score(student, samples, self.protocol)
        hits = found.sums.get(("student", MEASURES[self.protocol][0], "overall"), 0.0)
        return {"hits": np.array([hits, found.counts["overall"]], np.float32)}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The share of the summed counts."""
        hits, sentences = counts["hits"]
        return {MEASURE[self.protocol]: float(hits / max(sentences, np.float32(1)))}
