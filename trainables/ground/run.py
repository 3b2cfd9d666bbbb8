"""WS-3DVG: which box of a room a sentence means, learned from rooms and sentences alone.

`python -m trainables.ground [PRESET] [--group.field VALUE ...]`

The method is in `ground_method.py`, its losses in `ground_losses.py`, its networks in `ground_model.py` and
`ground_reconstruct.py`, settings and presets in `ground_config.py`, scores in `ground_scores.py`; here is a run's
way from shards to scores.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from datasets.synthetic_rooms.shards import synthetic_room_shards
from scenelift.cluster import connect as cluster
from scenelift.config.build import command
from scenelift.errors import ConfigError, DataError
from scenelift.io.console import Meter, say
from scenelift.runs.experiment import Experiment, experiment
from scenelift.runs.monitor import Observe, ignore
from scenelift.samples.room import ROOM, Room
from scenelift.shards.read import Samples, open_samples
from scenelift.train.job import Job, build_from
from scenelift.train.launch import Resources, launch
from scenelift.train.plan import Plan
from trainables.ground import pictures
from trainables.ground.batch import CollateRooms
from trainables.ground.config import PRESETS, GroundConfig, RoomsDataConfig
from trainables.ground.lexicon import build_lexicon
from trainables.ground.method import Grounding
from trainables.ground.model import Grounder
from trainables.ground.scores import GroundScores, Protocol, score
from trainables.ground.validation import MEASURE, hold_out

PICTURED = 4
"""Test rooms that are drawn."""


def open_rooms(data: RoomsDataConfig) -> tuple[Samples[Room], Samples[Room] | None]:
    """Training and test shards; the synthetic rooms are made where none are named.

    Raises ConfigError for test shards alone, DataError for shards that do not go together.
    """
    if data.train is None and data.test is None:
        data = replace(data, train=synthetic_room_shards("train"), test=synthetic_room_shards("val"))
    if data.train is None:
        raise ConfigError(
            "data.test is given without data.train; name both, or neither for the synthetic rooms"
        )
    train = open_samples(data.train, ROOM)
    test = open_samples(data.test, ROOM) if data.test else None
    for name in ("features", "classes"):
        if test is not None and test.manifest.about[name] != train.manifest.about[name]:
            raise DataError(
                f"{data.test} has other {name} than {data.train}: {test.manifest.about[name]}, not "
                f"{train.manifest.about[name]}; make both with the same detector, or student"
            )
    return train, test


def protocol_of(shards: Samples[Room]) -> Protocol:
    """Whether candidates are a detector's boxes or true instances."""
    return "instances" if "true instances" in shards.manifest.about["protocol"] else "detected"


def make_student(config: GroundConfig, train: Samples[Room]) -> Grounder:
    """An untrained grounder with the words of the training sentences."""
    about = train.manifest.about
    lexicon = build_lexicon(config.lexicon, about["words"])
    torch.manual_seed(config.loop.seed)
    return Grounder(config.network, config.method, lexicon, about["features"], tuple(about["classes"]))


def make_method(config: GroundConfig, initial: Path) -> Grounding:
    """The method with the student that the folder holds; called in every training worker."""
    return Grounding(Grounder.load(initial), config.loss)


def selecting(config: GroundConfig, scenes: int, objective: str) -> GroundConfig:
    """The config for a run that others are compared with: validated on one training room of so many, and the test
    rooms are left alone. ConfigError for an objective that the protocol of the rooms does not have."""
    train, _ = open_rooms(config.data)
    measure = MEASURE[protocol_of(train)]
    if objective != measure:
        raise ConfigError(
            f"{objective} is not measured on {train.manifest.about['protocol']}; write --objective {measure}"
        )
    return replace(config, data=RoomsDataConfig(train.path, None, scenes))


def run(config: GroundConfig, observe: Observe = ignore) -> None:
    """Train teacher and student together, score both, show what they do."""
    train, test = open_rooms(config.data)
    with cluster.connect():
        resources = Resources.fit(config.scale)
        chosen, validation = hold_out(config.data.held_out, train, protocol_of(train))
        # Refuses what cannot be split over the workers, or vectors that are not there, before a run is begun.
        Plan(len(train) if chosen is None else len(chosen), config.loop, resources.workers)
        student = make_student(config, train)
        tags = {
            "dataset": train.manifest.dataset,
            "protocol": train.manifest.about["protocol"],
            "category": config.method.category,
            "seed": str(config.loop.seed),
        }
        with experiment("ground", config, config.run, config.tracking, tags, PRESETS, observe) as made:
            initial = made.begin(student)
            made.dataset(train, "train")
            job = Job(
                shards=train.path,
                folder=made.run.checkpoints,
                loop=config.loop,
                optimizer=config.optimizer,
                collate=CollateRooms.of(student.words, config.method),
                build=partial(build_from, partial(make_method, config), initial),
                retries=config.scale.retries,
                frames=chosen,
                validation=validation,
                kind=ROOM,
            )
            last = launch(job, resources, made.listen)
            made.trained()
            made.result |= {
                "checkpoint": last.folder,
                "device": resources.device,
                "workers": resources.workers,
            }
            with last.fetched() as folder:
                trained = Grounder.load(folder)
            if test is not None:
                made.dataset(test, "test")
                print(_report(made, trained, test, last.step))
            made.save_student(trained, {"parameters": trained.size, "words": len(trained.words)}, last.step)


def _report(made: Experiment, student: Grounder, test: Samples[Room], step: int) -> str:
    """Score on all test rooms, record, draw some; the table as text."""
    with Meter("scoring student and teacher", len(test), "samples") as meter:
        scores = score(student, _read(test), protocol_of(test), done=meter.add)
    for line in remarks(scores):
        say(line)
    made.metrics |= scores.metrics()
    made.tracker.metrics(made.metrics, step)
    step_size = max(1, len(test) // PICTURED)
    for number, room in enumerate(test.read_many(range(0, len(test), step_size)[:PICTURED])):
        pictures.draw(made.run.pictures, number, student, room, protocol_of(test))
    return f"\n{test.manifest.about['protocol']}\n{scores.table()}\n{scores.timing()}"


def remarks(scores: GroundScores) -> list[str]:
    """What a reader of the scores should know."""
    counted = {
        "have no word that the lexicon knows: their answers are guesses": scores.unheard,
        "are about rooms where nothing is taken for an object: they have no answer": scores.empty,
        "mean a target that no proposal shows: they count as missed": scores.missing,
    }
    return [f"{count} sentences {text}" for text, count in counted.items() if count]


def _read(shards: Samples[Room], at_once: int = 64) -> Any:
    """Every sample, read in this process."""
    for start in range(0, len(shards), at_once):
        yield from shards.read_many(range(start, min(start + at_once, len(shards))))


def main() -> None:
    """Entry point."""
    command(run, GroundConfig, PRESETS, "python -m trainables.ground")
