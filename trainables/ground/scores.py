"""Grounding accuracy of the student, its coarse-to-fine teacher, the coarse stage, and chance.

Two protocols, never mixed (ws3dvg.md 10, 18). `detected`: candidates are a detector's boxes, and a box is right if
its IoU with the true box is at least 0.25, or 0.5. `instances`: candidates are the true instances, and only the
target itself is right. Numbers are fractions of sentences. A sentence whose target is not among the proposals, or
whose room has no object, counts as a miss for all.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
GUESSERS = ("random", "coarse", "teacher", "student", "upper", "ceiling")
"""What is scored: a random object of the room (its exact expectation); the coarse stage alone; coarse to fine; the
distilled student; the best of the candidates; the best of all objects."""
_OVERLAPS = {"acc25": 0.25, "acc50": 0.5}
"""Measure -> its minimum IoU."""
MEASURES: dict[Protocol, tuple[str, ...]] = {
    "detected": ("acc25", "acc50", "acc25_top3", "acc50_top3"),
    "instances": ("accuracy", "accuracy_top3"),
}
_SHORT = {
    "unique": "unique",
    "multiple": "multiple",
    "twins": "twins",
    "easy": "easy",
    "hard": "hard",
    "view_dependent": "view dep.",
    "view_independent": "view ind.",
}
"""Subset -> its name in tables. Unique and multiple are ScanRefer's, the others Nr3D's and Sr3D's (ws3dvg.md 10.2,
10.3); twins: exactly two objects of that name."""


@dataclass(frozen=True)
class Guess:
    """Predictions for one sentence: indices of the room's proposals, the best first, then NONE."""

    student: NDArray[np.int64]
    """[TOP] by descending score; without distillation, those of the coarse stage."""
    teacher: NDArray[np.int64]
    """[K] candidates by ascending reconstruction loss."""
    losses: NDArray[np.float32]
    """[K] those losses; infinite for NONE, 0 without a reconstructor."""
    coarse: NDArray[np.int64]
    """[K] candidates by descending weight."""


@dataclass
class Seconds:
    """Total inference time."""

    student: float = 0.0
    """0 without distillation."""
    teacher: float = 0.0
    sentences: int = 0

    def add(self, other: Seconds) -> None:
        """Count other guesses too."""
        self.student += other.student
        self.teacher += other.teacher
        self.sentences += other.sentences


@torch.inference_mode()
def guess(grounder: Grounder, batch: RoomBatch, seconds: Seconds | None = None) -> list[Guess]:
    """Predictions of student and teacher for every sentence of a batch; deterministic.

    The grounder is in evaluation mode during the call; its mode is restored afterwards.
    """
    training = grounder.training
    grounder.eval()
    began = time.perf_counter()
    student = _student(grounder, batch)
    between = time.perf_counter()
    teacher, losses, weighed = _teacher(grounder, batch)
    if seconds is not None:
        seconds.student += 0.0 if student is None else between - began
        seconds.teacher += time.perf_counter() - between
        seconds.sentences += len(batch.room)
    grounder.train(training)
    columns = [
        _numbered(found, batch) for found in (weighed if student is None else student, teacher, weighed)
    ]
    parts = zip(*columns, losses.cpu().numpy(), strict=True)
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


def _numbered(columns: Tensor, batch: RoomBatch) -> NDArray[np.int64]:
    """Columns of the batch -> indices of the room's proposals; NONE stays."""
    rows = batch.rows[batch.room].gather(1, columns.clamp(min=0))
    return rows.masked_fill(columns == NONE, NONE).cpu().numpy()


def right(room: Room, sentence: Sentence, protocol: Protocol) -> dict[str, Flags]:
    """Measure -> [M] whether each proposal is right."""
    if protocol == "instances":
        return {"accuracy": room.instances == sentence.target}
    overlap = iou(room.boxes, sentence.box)
    return {name: overlap >= least for name, least in _OVERLAPS.items()}


def shares(found: Guess, good: Flags, objects: Flags) -> dict[str, float]:
    """Guesser -> 1 if its first answer is right, else 0 (random: the probability); and the same for its first TOP.

    good, objects: [M] which proposals are right, and which are objects.
    """

    def hit(order: NDArray[np.int64], count: int) -> float:
        answered = order[:count][order[:count] != NONE]
        return float(good[answered].any())

    total, lucky = int(objects.sum()), int((good & objects).sum())
    ordered = {"coarse": found.coarse, "teacher": found.teacher, "student": found.student}
    result = {"random": lucky / max(1, total)}
    result |= {name: hit(order, 1) for name, order in ordered.items()}
    result |= {"upper": hit(found.coarse, len(found.coarse)), "ceiling": float(lucky > 0)}
    misses = math.comb(total - lucky, TOP) / math.comb(total, TOP) if total >= TOP else float(lucky == 0)
    result["random_top3"] = 1 - misses
    return result | {f"{name}_top3": hit(order, TOP) for name, order in ordered.items()}


def subsets(sentence: Sentence, twins: bool) -> list[str]:
    """The subsets that a sentence belongs to."""
    found = ["overall", "unique" if sentence.unique else "multiple"]
    if sentence.hard is not None:
        found.append("hard" if sentence.hard else "easy")
    found.append("view_dependent" if sentence.view_dependent else "view_independent")
    return [*found, "twins"] if twins else found


@dataclass(frozen=True)
class Judged:
    """What one sentence adds to the scores."""

    subsets: tuple[str, ...]
    """Those that the sentence is in."""
    shares: dict[tuple[str, str], float]
    """(guesser, measure) -> 1 if it is right, else 0; of chance, how likely that is."""
    empty: bool
    """Whether its room has no objects."""
    missing: bool
    """Whether no proposal shows its target."""

    @classmethod
    def of(cls, room: Room, sentence: Sentence, found: Guess, protocol: Protocol) -> Judged:
        """Judge the guesses about one sentence."""
        answers = right(room, sentence, protocol)
        judged = {
            (who, measure): share
            for measure, good in answers.items()
            for who, share in shares(found, good, room.objectness).items()
        }
        groups = tuple(subsets(sentence, _twins(room, sentence)))
        missing = not next(iter(answers.values())).any()
        return cls(groups, judged, not room.objectness.any(), missing)


@dataclass(frozen=True)
class Part:
    """What a process that scores some rooms sends back."""

    judged: list[Judged]
    """One a sentence, in order."""
    seconds: Seconds
    unheard: int
    """Sentences without a word that the lexicon has."""


@dataclass
class GroundScores:
    """Sums over sentences, for one protocol."""

    protocol: Protocol
    sums: dict[tuple[str, str, str], float] = field(default_factory=lambda: defaultdict(float))
    """(guesser, measure, subset) -> hits."""
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Subset -> sentences."""
    seconds: Seconds = field(default_factory=Seconds)
    unheard: int = 0
    """Sentences without any known word: their answers are guesses."""
    empty: int = 0
    """Sentences about rooms without objects: they have no answer."""
    missing: int = 0
    """Sentences whose target has no matching proposal: no answer can be right."""

    def add(self, part: Part) -> None:
        """Count some rooms. Sentence by sentence, so that sums do not depend on how rooms were shared out."""
        self.seconds.add(part.seconds)
        self.unheard += part.unheard
        for judged in part.judged:
            self.empty += judged.empty
            self.missing += judged.missing
            for name in judged.subsets:
                self.counts[name] += 1
            for (who, measure), share in judged.shares.items():
                for name in judged.subsets:
                    self.sums[who, measure, name] += share

    def metrics(self) -> dict[str, float]:
        """Fractions by name, protocol/guesser/measure/subset, and the seconds per sentence."""
        found = {
            f"{self.protocol}/{who}/{measure}/{name}": total / self.counts[name]
            for (who, measure, name), total in self.sums.items()
        }
        found["inference/teacher_seconds"] = self.seconds.teacher / max(1, self.seconds.sentences)
        if self.seconds.student:
            found["inference/student_seconds"] = self.seconds.student / max(1, self.seconds.sentences)
        return found

    def timing(self) -> str:
        """The inference time of student and teacher, as text."""
        seconds = self.seconds
        teacher = 1e3 * seconds.teacher / max(1, seconds.sentences)
        if not seconds.student:
            return f"no student: the coarse stage answers; coarse to fine takes {teacher:.2f} ms a sentence"
        student = 1e3 * seconds.student / seconds.sentences
        return (
            f"the student takes {student:.2f} ms a sentence, its teacher {teacher:.2f}: "
            f"{seconds.teacher / seconds.student:.1f} times as long"
        )

    def table(self) -> str:
        """Rows of guessers, columns of measures and subsets, as text."""
        names = MEASURES[self.protocol]
        columns = [(name, "overall", name) for name in names]
        columns += [(names[0], subset, short) for subset, short in _SHORT.items() if self.counts.get(subset)]
        lines = [
            f"{self.protocol:<10}" + "".join(f"{title:>12}" for *_, title in columns),
            f"{'sentences':<10}" + "".join(f"{self.counts[subset]:>12}" for _, subset, _ in columns),
        ]
        for who in GUESSERS:
            cells = (self._cell(who, measure, subset) for measure, subset, _ in columns)
            lines.append(f"{who:<10}" + "".join(f"{cell:>12}" for cell in cells))
        return "\n".join(lines)

    def _cell(self, who: str, measure: str, subset: str) -> str:
        base = measure.removesuffix("_top3")
        total = self.sums.get((who + measure.removeprefix(base), base, subset))
        return "-" if total is None else f"{total / self.counts[subset]:.3f}"


def _twins(room: Room, sentence: Sentence) -> bool:
    """Whether exactly two objects of the room have the target's name."""
    at = np.flatnonzero((room.objects == sentence.box).all(1))
    return bool(len(at)) and room.names.count(room.names[at[0]]) == 2


def judge(grounder: Grounder, rooms: Sequence[Room], protocol: Protocol) -> Part:
    """What a grounder is worth on rooms, which make one batch."""
    batch = CollateRooms.of(grounder.words, grounder.method)(rooms).to(grounder.vectors.device)
    seconds = Seconds()
    guesses = iter(guess(grounder, batch, seconds))
    judged = [
        Judged.of(room, sentence, next(guesses), protocol) for room in rooms for sentence in room.sentences
    ]
    return Part(judged, seconds, int((batch.ids <= UNKNOWN).all(1).sum()))


def score(grounder: Grounder, rooms: Iterable[Room], protocol: Protocol, batch: int = BATCH) -> GroundScores:
    """Score a grounder on rooms in this process, `batch` of them together."""
    scores = GroundScores(protocol)
    for part in _parts(rooms, batch):
        scores.add(judge(grounder, part, protocol))
    return scores


def _parts(rooms: Iterable[Room], size: int) -> Iterator[list[Room]]:
    rooms = iter(rooms)
    while part := list(islice(rooms, size)):
        yield part
