"""Grounding accuracy of the student, its coarse-to-fine teacher, the coarse stage, and chance.

Two protocols, never mixed (ws3dvg.md 10, 18). `detected`: candidates are a detector's boxes, and a box is right if
its IoU with the true box is at least 0.25, or 0.5. `instances`: candidates are the true instances, and only the
target itself is right. Numbers are fractions of sentences. A sentence whose target is not among the proposals, or
whose room has no object, counts as a miss for all.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scenelift.errors import DataError
from scenelift.geometry.boxes3d import iou
from scenelift.samples.room import Room, Sentence
from trainables.ground.batch import CollateRooms, RoomBatch
from trainables.ground.lexicon import UNKNOWN
from trainables.ground.losses import select
from trainables.ground.method import Reading, coarse, masked, reconstruction_losses
from trainables.ground.model import Grounder

Protocol = Literal["detected", "instances"]
Flags = NDArray[np.bool_]

TOP = 3
"""k of R@k."""
BATCH = 16
"""Rooms that are scored together."""
NONE = -1
"""Index that stands for no proposal."""
GUESSERS = ("random", "coarse", "teacher", "student", "upper", "ceiling", "eval_rand", "use_best")
"""What is scored: a random object of the room (its exact expectation); the coarse stage alone; coarse to fine; the
distilled student; the best of the candidates; the best of all objects. Then two rows as the authors' code has them,
over all proposals, whether or not they are objects: a random one (again the expectation), and the best."""
_OVERLAPS = {"acc25": 0.25, "acc50": 0.5}
"""Measure -> its minimum IoU."""
MEASURES: dict[Protocol, tuple[str, ...]] = {
    "detected": ("acc25", "acc50", "acc25_top3", "acc50_top3"),
    "instances": ("accuracy", "accuracy_top3"),
}
_SHORT = {name: name for name in ("unique", "multiple", "twins", "easy", "hard")}
_SHORT |= {"view_dependent": "view dep.", "view_independent": "view ind."}
"""Subset -> its name in tables. Unique and multiple are ScanRefer's, the others Nr3D's and Sr3D's (ws3dvg.md 10.2,
10.3); twins: exactly two objects of that name."""


@dataclass(frozen=True)
class Guess:
    """Predictions for one sentence: indices of the room's proposals, the best first, then NONE."""

    student: NDArray[np.int64]  # [TOP] by descending score; without distillation, those of the coarse stage
    teacher: NDArray[np.int64]  # [K] candidates by ascending reconstruction loss
    losses: NDArray[np.float32]  # [K] those losses; infinite for NONE, 0 without a reconstructor
    coarse: NDArray[np.int64]  # [K] candidates by descending weight


@dataclass
class Seconds:
    """Total inference time."""

    student: float = 0.0
    """0 without distillation."""
    teacher: float = 0.0

    def add(self, other: Seconds) -> None:
        """Count further predictions."""
        self.student += other.student
        self.teacher += other.teacher


@torch.inference_mode()
def guess(grounder: Grounder, batch: RoomBatch, seconds: Seconds | None = None) -> list[Guess]:
    """Predictions of student and teacher, in evaluation mode, for every sentence of a batch; deterministic."""
    training = grounder.training
    grounder.eval()
    began = time.perf_counter()
    student = _student(grounder, batch)
    between = time.perf_counter()
    teacher, losses, weighed = _teacher(grounder, batch)
    if seconds is not None:
        seconds.student += 0.0 if student is None else between - began
        seconds.teacher += time.perf_counter() - between
    grounder.train(training)
    ranked = (weighed if student is None else student, teacher, weighed)
    parts = zip(*(_room_indices(columns, batch) for columns in ranked), losses.cpu().numpy(), strict=True)
    return [Guess(first[:TOP], second, loss, third) for first, second, third, loss in parts]


def _student(grounder: Grounder, batch: RoomBatch) -> Tensor | None:
    """[S, TOP] best-scored objects: unlike in the authors' code, only objects can win (ws3dvg.md 9)."""
    if not grounder.method.distill:
        return None
    scores = grounder.scores(batch).masked_fill(~batch.objects[batch.room], -torch.inf)
    best = scores.topk(min(TOP, scores.shape[1]), dim=1)
    return best.indices.masked_fill(best.values == -torch.inf, NONE)


def _teacher(grounder: Grounder, batch: RoomBatch) -> tuple[Tensor, Tensor, Tensor]:
    """[S, K] candidates by reconstruction loss, those losses, and [S, K] candidates by weight."""
    proposals, read = grounder.look(batch), Reading.of(grounder, batch)
    weights = coarse(grounder, batch, proposals, read)
    chosen, valid = select(weights, batch.objects[batch.room], grounder.method.candidates)
    weighed = chosen.masked_fill(~valid, NONE)
    if not grounder.method.reconstruct:
        return weighed, torch.where(valid, 0.0, torch.inf), weighed
    candidates = proposals[batch.room[:, None], chosen]
    rho, _ = reconstruction_losses(grounder, batch, candidates, read, masked(grounder, batch))
    order = rho.masked_fill(~valid, torch.inf).sort(dim=1, stable=True)
    return weighed.gather(1, order.indices), order.values, weighed


def _room_indices(columns: Tensor, batch: RoomBatch) -> NDArray[np.int64]:
    """Columns of the batch -> indices of the room's proposals; NONE stays."""
    rows = batch.rows[batch.room].gather(1, columns.clamp(min=0))
    return rows.masked_fill(columns == NONE, NONE).cpu().numpy()


def right(room: Room, sentence: Sentence, protocol: Protocol) -> dict[str, Flags]:
    """Measure -> [M] whether each proposal is right."""
    if protocol == "instances":
        return {"accuracy": room.instances == sentence.target}
    overlap = iou(room.boxes, sentence.box)
    return {name: overlap >= least for name, least in _OVERLAPS.items()}


def shares(answer: Guess, good: Flags, objects: Flags) -> dict[str, float]:
    """Guesser -> 1 if its first answer is right, else 0 (random: the probability); and the same for its first TOP.

    good, objects: [M] which proposals are right, and which are objects.
    """

    def hit(order: NDArray[np.int64], count: int) -> float:
        answered = order[:count][order[:count] != NONE]
        return float(good[answered].any())

    total, lucky = int(objects.sum()), int((good & objects).sum())
    ordered = {"coarse": answer.coarse, "teacher": answer.teacher, "student": answer.student}
    result = {"random": lucky / max(1, total)}
    result |= {name: hit(order, 1) for name, order in ordered.items()}
    result |= {"upper": hit(answer.coarse, len(answer.coarse)), "ceiling": float(lucky > 0)}
    misses = math.comb(total - lucky, TOP) / math.comb(total, TOP) if total >= TOP else float(lucky == 0)
    result["random_top3"] = 1 - misses
    share = float(good.mean())
    # The authors draw each of the three anew, so one proposal may come twice.
    result |= {"eval_rand": share, "eval_rand_top3": 1 - (1 - share) ** TOP, "use_best": float(good.any())}
    return result | {f"{name}_top3": hit(order, TOP) for name, order in ordered.items()}


def subsets(room: Room, sentence: Sentence) -> list[str]:
    """The subsets that a sentence belongs to."""
    names = ["overall", "unique" if sentence.unique else "multiple"]
    if sentence.hard is not None:
        names.append("hard" if sentence.hard else "easy")
    names.append("view_dependent" if sentence.view_dependent else "view_independent")
    targets = np.flatnonzero((room.objects == sentence.box).all(1))
    if len(targets) and room.names.count(room.names[targets[0]]) == 2:
        names.append("twins")
    return names


@dataclass(frozen=True)
class SentenceScores:
    """What one sentence adds to the scores."""

    subsets: list[str]
    shares: dict[tuple[str, str], float]
    """(guesser, measure) -> 1 if it is right, else 0; for chance, the probability."""
    unknown: bool
    """None of its words is known: its answers are guesses."""
    empty: bool
    """Its room has no objects: it has no answer."""
    missing: bool
    """No proposal matches its target: no answer can be right."""

    @property
    def possible(self) -> bool:
        """Whether an answer could be right."""
        return not (self.empty or self.missing)

    @classmethod
    def of(
        cls, room: Room, sentence: Sentence, answer: Guess, protocol: Protocol, unknown: bool
    ) -> SentenceScores:
        """Score the predictions for one sentence."""
        good = right(room, sentence, protocol)
        hits = {
            (who, measure): share
            for measure, flags in good.items()
            for who, share in shares(answer, flags, room.objectness).items()
        }
        missing = not next(iter(good.values())).any()
        return cls(subsets(room, sentence), hits, unknown, not room.objectness.any(), missing)


@dataclass
class GroundScores:
    """Scores of sentences, for one protocol; processes that score some rooms send theirs back to be added."""

    protocol: Protocol
    sentences: list[SentenceScores] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)

    def add(self, other: GroundScores) -> None:
        """Count further sentences."""
        self.sentences += other.sentences
        self.seconds.add(other.seconds)

    @property
    def counts(self) -> Counter[str]:
        """Subset -> sentences."""
        return Counter(name for sentence in self.sentences for name in sentence.subsets)

    @property
    def sums(self) -> dict[tuple[str, str, str], float]:
        """(guesser, measure, subset) -> hits, summed sentence by sentence, however rooms were distributed."""
        sums: dict[tuple[str, str, str], float] = defaultdict(float)
        for sentence in self.sentences:
            for (who, measure), share in sentence.shares.items():
                for name in sentence.subsets:
                    sums[who, measure, name] += share
        return sums

    def metrics(self) -> dict[str, float]:
        """Fractions by name, protocol/guesser/measure/subset, and the seconds per sentence; DataError if no answer
        could be right."""
        if not any(sentence.possible for sentence in self.sentences):
            raise DataError(
                f"nothing to score: none of {len(self.sentences)} sentences means an object that a proposal shows; "
                "check that boxes and sentences are of the same scenes, in the same frame of reference"
            )
        counts, number = self.counts, max(1, len(self.sentences))
        metrics = {
            f"{self.protocol}/{who}/{measure}/{name}": total / counts[name]
            for (who, measure, name), total in self.sums.items()
        }
        metrics["inference/teacher_seconds"] = self.seconds.teacher / number
        if self.seconds.student:
            metrics["inference/student_seconds"] = self.seconds.student / number
        return metrics

    def timing(self) -> str:
        """The inference time of student and teacher, as text."""
        seconds = self.seconds
        teacher = 1e3 * seconds.teacher / max(1, len(self.sentences))
        if not seconds.student:
            return f"no student: the coarse stage answers; coarse to fine takes {teacher:.2f} ms a sentence"
        student = 1e3 * seconds.student / len(self.sentences)
        return (
            f"the student takes {student:.2f} ms a sentence, its teacher {teacher:.2f}: "
            f"{seconds.teacher / seconds.student:.1f} times as long"
        )

    def table(self) -> str:
        """Rows of guessers, columns of measures and subsets, as text."""
        names, counts, sums = MEASURES[self.protocol], self.counts, self.sums
        columns = [(name, "overall", name) for name in names]
        columns += [(names[0], subset, short) for subset, short in _SHORT.items() if counts[subset]]

        def cell(who: str, measure: str, subset: str) -> str:
            base = measure.removesuffix("_top3")
            total = sums.get((who + measure.removeprefix(base), base, subset))
            return "-" if total is None else f"{total / counts[subset]:.3f}"

        lines = [
            f"{self.protocol:<10}" + "".join(f"{title:>12}" for *_, title in columns),
            f"{'sentences':<10}" + "".join(f"{counts[subset]:>12}" for _, subset, _ in columns),
        ]
        for who in GUESSERS:
            cells = (cell(who, measure, subset) for measure, subset, _ in columns)
            lines.append(f"{who:<10}" + "".join(f"{text:>12}" for text in cells))
        return "\n".join(lines)

    def remarks(self) -> tuple[str, ...]:
        """What a reader of the scores should know."""
        texts = {
            "have no word that the lexicon knows: their answers are guesses": "unknown",
            "are about rooms where nothing is taken for an object: they have no answer": "empty",
            "mean a target that no proposal shows: they count as missed": "missing",
        }
        counted = {text: sum(getattr(each, name) for each in self.sentences) for text, name in texts.items()}
        return tuple(f"{count} sentences {text}" for text, count in counted.items() if count)


def score_batch(grounder: Grounder, rooms: Sequence[Room], protocol: Protocol) -> GroundScores:
    """Score a grounder on rooms, as one batch."""
    batch = CollateRooms.of(grounder.words, grounder.method)(rooms).to(grounder.vectors.device)
    scores = GroundScores(protocol)
    guesses = guess(grounder, batch, scores.seconds)
    unknown = (batch.ids <= UNKNOWN).all(1).tolist()
    pairs = [(room, sentence) for room in rooms for sentence in room.sentences]
    for (room, sentence), answer, no_word in zip(pairs, guesses, unknown, strict=True):
        scores.sentences.append(SentenceScores.of(room, sentence, answer, protocol, no_word))
    return scores


def score(grounder: Grounder, rooms: Iterable[Room], protocol: Protocol, batch: int = BATCH) -> GroundScores:
    """Score a grounder on rooms in this process, `batch` of them together."""
    scores, remaining = GroundScores(protocol), iter(rooms)
    while part := list(islice(remaining, batch)):
        scores.add(score_batch(grounder, part, protocol))
    return scores
