"""Visual grounding: from shards of rooms to scores of student and teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from scenelift.errors import DataError
from scenelift.evaluation.scoring import Counts, score
from scenelift.io.storage import Location
from scenelift.runs.config import DataConfig
from scenelift.runs.task import Report, Task
from scenelift.samples.room import ROOM, Room
from scenelift.shards.read import Samples, open_samples
from trainables.common.training import shard_folders, start
from trainables.ground import pictures, scores
from trainables.ground.batch import CollateRooms
from trainables.ground.config import PRESETS, GroundConfig
from trainables.ground.lexicon import build_lexicon
from trainables.ground.method import Grounding
from trainables.ground.model import Grounder
from trainables.ground.scores import BATCH, MEASURES, GroundScores, Protocol, score_batch

if TYPE_CHECKING:
    from scenelift.train.launch import Resources

PICTURED = 4
"""Test rooms that are drawn."""
_HEADLINES = ("detected/{}/acc25/overall", "instances/{}/accuracy/overall")
COLUMNS = tuple(name.format(who) for name in _HEADLINES for who in ("student", "teacher"))


MEASURE: dict[Protocol, str] = {protocol: f"validation/{names[0]}" for protocol, names in MEASURES.items()}
"""Protocol -> the metric of a validation."""
OBJECTIVES = {
    MEASURE[
        "detected"
    ]: "fraction of sentences whose object is found among detected boxes, by an IoU of 0.25",
    MEASURE["instances"]: "fraction of sentences whose object is found among the true instances",
}


class GroundTask(Task[Room]):
    """Train teacher and student together; score both."""

    command = "ground"
    objectives: ClassVar = OBJECTIVES
    columns: ClassVar = COLUMNS

    def __init__(self, config: GroundConfig) -> None:
        self.config, self.presets = config, PRESETS
        self.train, self.test = open_rooms(config.data)
        self.protocol = protocol_of(self.train)

    def tags(self) -> dict[str, str]:
        return {
            "protocol": self.train.manifest.about["protocol"],
            "category": self.config.method.category,
            "lexicon": self.config.lexicon.source,
        }

    def student(self) -> Grounder:
        about, config = self.train.manifest.about, self.config
        lexicon = build_lexicon(config.lexicon, about["words"])
        torch.manual_seed(config.loop.seed)
        return Grounder(config.network, config.method, lexicon, about["features"], tuple(about["classes"]))

    def describe(self, student: Grounder) -> dict[str, Any]:
        words = len(student.words)
        return {"parameters": student.size, "words": words, "word_vectors": self.config.lexicon.source}

    def collate(self, student: Grounder) -> CollateRooms:
        return CollateRooms.of(student.words, self.config.method)

    @classmethod
    def method(cls, config: GroundConfig, initial: Path) -> Grounding:
        return Grounding(Grounder.load(initial), config.loss)

    def load(self, folder: Location) -> Grounder:
        return Grounder.load(folder)

    def measure(self, held_out: Sequence[int]) -> RoomMeasure:
        """The fraction of held-out sentences whose object is found."""
        return RoomMeasure(self.protocol)

    def score(
        self, before: None, initial: Location, trained: Location, resources: Resources, folder: Path
    ) -> Report:
        """Student, teacher, coarse stage and chance on all test rooms; some rooms are drawn."""
        assert self.test is not None
        total, scorer = GroundScores(self.protocol), _Scorer(trained, self.protocol)
        title = "scoring student and teacher"
        for part in score(self.test, scorer, title, resources.workers, resources.gpus, BATCH):
            total.add(part)
        step, student = max(1, len(self.test) // PICTURED), self.load(trained)
        drawn = self.test.read_many(range(0, len(self.test), step)[:PICTURED])
        for number, room in enumerate(drawn):
            pictures.draw(folder, number, student, room, self.protocol)
        protocol = self.test.manifest.about["protocol"]
        text = f"\n{protocol}\n{total.table()}\n{total.timing()}"
        return Report(total.metrics(), text, total.remarks())


@dataclass(frozen=True)
class RoomMeasure:
    """Validation on held-out rooms: the fraction of sentences whose object the student finds."""

    protocol: Protocol

    @property
    def names(self) -> tuple[str, ...]:
        """The one metric of the protocol."""
        return (MEASURE[self.protocol],)

    def count(self, student: Grounder, samples: Iterable[Room]) -> Counts:
        """[3] hits, sentences, and those of them whose object a proposal shows."""
        total = scores.score(student, samples, self.protocol)
        hits = total.sums.get(("student", MEASURES[self.protocol][0], "overall"), 0.0)
        possible = sum(sentence.possible for sentence in total.sentences)
        return {"hits": np.array([hits, total.counts["overall"], possible], np.float32)}

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The fraction, from the summed counts; DataError if no answer could be right."""
        hits, sentences, possible = counts["hits"]
        if not possible:
            raise DataError(
                f"{MEASURE[self.protocol]}: none of {sentences:.0f} sentences of the held-out rooms means an "
                "object that a proposal shows; hold out others (--validation.holdout_every), or none (0)"
            )
        return {MEASURE[self.protocol]: float(hits / sentences)}


@dataclass(frozen=True)
class _Scorer:
    """Builds, in a scoring process, the function that scores some rooms."""

    student: Location
    protocol: Protocol

    def __call__(self, device: torch.device) -> Callable[[list[Room]], GroundScores]:
        return partial(score_batch, Grounder.load(self.student).to(device), protocol=self.protocol)


def open_rooms(data: DataConfig) -> tuple[Samples[Room], Samples[Room] | None]:
    """Training and test shards, or synthetic rooms if none are named; ConfigError for test shards alone, DataError
    for shards that do not go together."""
    train_folder, test_folder = shard_folders(data, _synthetic)
    train = open_samples(train_folder, ROOM)
    test = open_samples(test_folder, ROOM) if test_folder else None
    for name in ("features", "classes"):
        if test is not None and test.manifest.about[name] != train.manifest.about[name]:
            raise DataError(
                f"{test_folder} has other {name} than {train_folder}: {test.manifest.about[name]}, not "
                f"{train.manifest.about[name]}; make both with the same detector, or student"
            )
    if test is not None and protocol_of(test) != protocol_of(train):
        said = (f"{shards.path} has {shards.manifest.about['protocol']}" for shards in (train, test))
        raise DataError(
            f"{' and '.join(said)}: the scores of one are not those of the other; make both with the same "
            "--candidates"
        )
    return train, test


def _synthetic(split: str) -> str:
    from datasets.synthetic_rooms.shards import synthetic_room_shards  # not needed for real data

    return synthetic_room_shards(split)


def protocol_of(shards: Samples[Room]) -> Protocol:
    """Whether candidates are a detector's boxes or true instances."""
    return "instances" if "true instances" in shards.manifest.about["protocol"] else "detected"


run = partial(start, GroundTask)
