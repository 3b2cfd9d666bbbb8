"""One training of visual grounding: from shards of rooms to scores of student and teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from scenelift.errors import DataError
from scenelift.evaluation.scoring import score
from scenelift.io.storage import Location
from scenelift.runs.config import DataConfig
from scenelift.runs.task import Report, Task
from scenelift.samples.room import ROOM, Room
from scenelift.shards.read import Samples, open_samples
from trainables.common.training import shard_folders, start
from trainables.ground import pictures
from trainables.ground.batch import CollateRooms
from trainables.ground.config import PRESETS, GroundConfig
from trainables.ground.lexicon import build_lexicon
from trainables.ground.method import Grounding
from trainables.ground.model import Grounder
from trainables.ground.scores import BATCH, GroundScores, Part, Protocol, judge
from trainables.ground.validation import OBJECTIVES, RoomMeasure

if TYPE_CHECKING:
    from scenelift.train.launch import Resources

PICTURED = 4
"""Test rooms that are drawn."""
COLUMNS = tuple(
    f"{name}/overall"
    for measure in ("detected/{}/acc25", "instances/{}/accuracy")
    for name in (measure.format("student"), measure.format("teacher"))
)


class GroundTask(Task[Room]):
    """Train teacher and student together, score both, show what they do."""

    command = "ground"
    objectives: ClassVar = OBJECTIVES
    columns: ClassVar = COLUMNS

    def __init__(self, config: GroundConfig) -> None:
        self.config, self.presets = config, PRESETS
        self.train, self.test = open_rooms(config.data)
        self.protocol = protocol_of(self.train)

    def tags(self) -> dict[str, str]:
        """What tells one training from another."""
        return {
            "protocol": self.train.manifest.about["protocol"],
            "category": self.config.method.category,
        }

    def student(self) -> Grounder:
        """An untrained grounder with the words of the training sentences."""
        about, config = self.train.manifest.about, self.config
        lexicon = build_lexicon(config.lexicon, about["words"])
        torch.manual_seed(config.loop.seed)
        return Grounder(config.network, config.method, lexicon, about["features"], tuple(about["classes"]))

    def describe(self, student: Grounder) -> dict[str, Any]:
        """What the logged model says of itself."""
        return {"parameters": student.size, "words": len(student.words)}

    def collate(self, student: Grounder) -> CollateRooms:
        """Rooms and their sentences to tensors."""
        return CollateRooms.of(student.words, self.config.method)

    @classmethod
    def method(cls, config: GroundConfig, initial: Path) -> Grounding:
        """WS-3DVG around the student that the folder holds."""
        return Grounding(Grounder.load(initial), config.loss)

    def load(self, folder: Location) -> Grounder:
        """The student of a checkpoint."""
        return Grounder.load(folder)

    def measure(self, held_out: Sequence[int]) -> RoomMeasure:
        """The share of held-out sentences whose object is found."""
        return RoomMeasure(self.protocol)

    def score(
        self, before: None, initial: Location, trained: Location, resources: Resources, folder: Path
    ) -> Report:
        """Student, teacher, coarse stage and chance on all test rooms; some are drawn."""
        assert self.test is not None
        scores, build = GroundScores(self.protocol), _Build(trained, self.protocol)
        title = "scoring student and teacher"
        for part in score(self.test, build, title, resources.workers, resources.gpus, BATCH):
            scores.add(part)
        step, student = max(1, len(self.test) // PICTURED), self.load(trained)
        drawn = self.test.read_many(range(0, len(self.test), step)[:PICTURED])
        for number, room in enumerate(drawn):
            pictures.draw(folder, number, student, room, self.protocol)
        protocol = self.test.manifest.about["protocol"]
        text = f"\n{protocol}\n{scores.table()}\n{scores.timing()}"
        return Report(scores.metrics(), text, remarks(scores))


@dataclass(frozen=True)
class _Build:
    student: Location
    protocol: Protocol

    def __call__(self, device: torch.device) -> Callable[[list[Room]], Part]:
        return partial(judge, Grounder.load(self.student).to(device), protocol=self.protocol)


def open_rooms(data: DataConfig) -> tuple[Samples[Room], Samples[Room] | None]:
    """Training and test shards; the synthetic rooms are made where none are named.

    Raises ConfigError for test shards alone, DataError for shards that do not go together.
    """
    train_place, test_place = shard_folders(data, _synthetic)
    train = open_samples(train_place, ROOM)
    test = open_samples(test_place, ROOM) if test_place else None
    for name in ("features", "classes"):
        if test is not None and test.manifest.about[name] != train.manifest.about[name]:
            raise DataError(
                f"{test_place} has other {name} than {train_place}: {test.manifest.about[name]}, not "
                f"{train.manifest.about[name]}; make both with the same detector, or student"
            )
    return train, test


def _synthetic(split: str) -> str:
    from datasets.synthetic_rooms.shards import synthetic_room_shards  # which real data can spare

    return synthetic_room_shards(split)


def protocol_of(shards: Samples[Room]) -> Protocol:
    """Whether candidates are a detector's boxes or true instances."""
    return "instances" if "true instances" in shards.manifest.about["protocol"] else "detected"


def remarks(scores: GroundScores) -> tuple[str, ...]:
    """What a reader of the scores should know."""
    counted = {
        "have no word that the lexicon knows: their answers are guesses": scores.unheard,
        "are about rooms where nothing is taken for an object: they have no answer": scores.empty,
        "mean a target that no proposal shows: they count as missed": scores.missing,
    }
    return tuple(f"{count} sentences {text}" for text, count in counted.items() if count)


run = partial(start, GroundTask)
