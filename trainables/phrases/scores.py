"""Scores of phrase grounding: for each phrase with a box, the rank of the first right region; and what it costs.

Source: ckd.md 7, without its error of scoring the first phrases instead of those with boxes (ckd.md 10.7).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError
from scenelift.evaluation.scoring import Counts
from scenelift.geometry.boxes2d import iou
from scenelift.samples.caption import CaptionedImage
from trainables.phrases.batch import class_weights
from trainables.phrases.student import Encoders

RANKS = (1, 5, 10)
ENOUGH = 0.5
"""A region is right if its IoU with the phrase's box is above this."""
Grounder = Callable[[CaptionedImage], NDArray[np.float32]]
"""Returns [P, R] scores of each region for each phrase of an image; higher is better."""
NONE = "no type"
"""Type of phrases in data sets without types."""
R1: Final = "validation/r1"
OBJECTIVES = {R1: "fraction of the phrases with a box whose best region is right"}


@dataclass
class PhraseScores:
    """Results of N phrases with boxes, one array per image."""

    rank: list[NDArray[np.int64]] = field(default_factory=list)
    """Rank of the first right region, from 0; the number of regions if none is right."""
    possible: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether any region is right."""
    pointed: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether the centre of the best region is inside the phrase's box."""
    known: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether the detector has a class for the phrase."""
    types: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, sample: CaptionedImage, scores: NDArray[np.float32]) -> None:
        """Count the phrases of an image that have a box; scores: [P, R] of all its phrases."""
        boxed = [i for i, phrase in enumerate(sample.phrases) if phrase.box is not None]
        if not boxed:
            return
        truth = np.array([sample.phrases[i].box for i in boxed], np.float64)
        order = np.argsort(-scores[boxed], axis=1, kind="stable")
        right = np.take_along_axis(iou(truth, sample.boxes) > ENOUGH, order, 1)
        possible = np.asarray(right.any(1))
        best = sample.boxes[order[:, 0]]
        centre = (best[:, :2] + best[:, 2:]) / 2
        self.rank.append(np.where(possible, right.argmax(1), right.shape[1]))
        self.possible.append(possible)
        inside = (centre >= truth[:, :2]) & (centre <= truth[:, 2:])
        self.pointed.append(inside[:, 0] & inside[:, 1])
        self.known.append(np.array([bool(sample.phrases[i].classes) for i in boxed]))
        self.types += [sample.phrases[i].types or (NONE,) for i in boxed]

    def extend(self, other: PhraseScores) -> None:
        """Count the phrases of further images."""
        for own in fields(self):
            getattr(self, own.name).extend(getattr(other, own.name))

    def metrics(self) -> dict[str, float]:
        """Fractions by name: r1, r5, r10, pointing, ceiling; r1 by type, and of phrases known and unknown to the
        detector; the number of phrases. A phrase of several types counts in each."""
        if not self.types:
            return {"phrases": 0.0}
        rank, known = np.concatenate(self.rank), np.concatenate(self.known)
        metrics = {f"r{k}": float((rank < k).mean()) for k in RANKS}
        metrics["pointing"] = float(np.concatenate(self.pointed).mean())
        metrics["ceiling"] = float(np.concatenate(self.possible).mean())
        groups = {"r1/known to the detector": known, "r1/unknown to the detector": ~known}
        for name in sorted({name for types in self.types for name in types}):
            groups[f"r1/{name}"] = np.array([name in types for types in self.types])
        metrics |= {name: float((rank[mask] == 0).mean()) for name, mask in groups.items() if mask.any()}
        return {**metrics, "phrases": float(len(rank))}


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
        """R@1 from the summed counts."""
        right, phrases = counts["right"].tolist()
        if not phrases:
            raise DataError(
                f"{R1}: no phrase of the held-out images has a box; hold out others "
                "(--validation.holdout_every), or none (0)"
            )
        return {R1: right / phrases}


@dataclass(frozen=True)
class Cost:
    """Cost of grounding the phrases of one image, given its features; no detector is used."""

    phrases: int
    regions: int
    multiplications: int
    milliseconds: float

    @classmethod
    def of(cls, student: Encoders, sample: CaptionedImage) -> Cost:
        """Measured on an image without the detector's posteriors, the second time."""
        sample = replace(sample, posteriors=None)
        student.ground(sample)
        began = time.perf_counter()
        student.ground(sample)
        milliseconds = 1000 * (time.perf_counter() - began)
        regions, phrases = len(sample.boxes), len(sample.phrases)
        return cls(phrases, regions, student.operations(regions, phrases), milliseconds)

    def __str__(self) -> str:
        return (
            f"grounding {self.phrases} phrases among {self.regions} regions: {self.multiplications / 1e6:.1f} "
            f"million multiplications, {self.milliseconds:.1f} ms; no detector is asked"
        )


def chance(seed: int = 0) -> Grounder:
    """Regions in a random order, another for each phrase."""
    rng = np.random.default_rng(seed)
    return lambda sample: rng.random((len(sample.phrases), len(sample.boxes)), np.float32)


def believed(sample: CaptionedImage) -> NDArray[np.float32]:
    """The detector's own scores: its belief in the phrase's classes; all 0 for a phrase that it does not know."""
    assert sample.posteriors is not None
    return class_weights(sample.phrases, sample.posteriors.shape[1]) @ sample.posteriors.astype(np.float32).T


def fused(ground: Grounder, weight: float) -> Grounder:
    """A student's score plus a detector's belief: the possible gain from using the detector at test time."""
    return lambda sample: ground(sample) + np.float32(weight) * believed(sample)


def metrics(scores: Mapping[str, PhraseScores]) -> dict[str, float]:
    """All scores by name; the student's are `grounding/r1` and so on."""
    prefixes = {who: "grounding" if who == "student" else who for who in scores}
    return {
        f"{prefixes[who]}/{name}": value for who in scores for name, value in scores[who].metrics().items()
    }


_COLUMNS = {
    "R@1": "r1",
    "R@5": "r5",
    "R@10": "r10",
    "pointing": "pointing",
    "R@1 known": "r1/known to the detector",
    "unknown": "r1/unknown to the detector",
}


def table(scores: Mapping[str, PhraseScores]) -> str:
    """Scores as text, then the student's R@1 by type."""
    rows = {who: each.metrics() for who, each in scores.items()}
    student = rows["student"]
    lines = ["".join([f"{'':<10}", *(f"{title:>11}" for title in _COLUMNS)])]
    for who, values in rows.items():
        cells = (f"{values[name]:.3f}" if name in values else "-" for name in _COLUMNS.values())
        lines.append("".join([f"{who:<10}", *(f"{cell:>11}" for cell in cells)]))
    lines.append(
        f"{student['phrases']:.0f} phrases with a box; at most {student['ceiling']:.3f} can be found"
    )
    types = [name for name in student if name.startswith("r1/") and " the " not in name]
    lines.append("student by type: " + ", ".join(f"{name[3:]} {student[name]:.3f}" for name in types))
    return "\n".join(lines)
