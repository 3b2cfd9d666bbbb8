"""Phrase grounding: from shards of captioned images to scores and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from scenelift.errors import DataError
from scenelift.evaluation.scoring import score
from scenelift.io.console import say
from scenelift.io.storage import Location
from scenelift.runs.task import Report, Task, spread
from scenelift.samples.caption import CAPTIONED_IMAGE, CaptionedImage, CaptionSet
from scenelift.shards.read import Samples, open_samples
from trainables.common.training import shard_folders, start
from trainables.phrases import pictures, scores
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.clip_student import ClipStudent
from trainables.phrases.config import PRESETS, PhraseDataConfig, PhrasesConfig
from trainables.phrases.method import Ckd
from trainables.phrases.scores import Cost, Grounder, PhraseMeasure, PhraseScores
from trainables.phrases.student import Encoders, PhraseStudent, make_student

if TYPE_CHECKING:
    from scenelift.train.launch import Resources

Images = Samples[CaptionedImage]
Part = tuple[dict[str, PhraseScores], list[CaptionedImage]]
"""Scores of some images, and the images' outlines."""
PICTURED = 3
"""Test images that are drawn."""
TOGETHER = 16
"""Test images that one task reads and scores."""


class PhrasesTask(Task[CaptionedImage]):
    """Train on sentences and a detector's belief; score against boxes."""

    command = "phrases"
    objectives: ClassVar = scores.OBJECTIVES
    columns: ClassVar = ("grounding/r1", "grounding/r5", "grounding/pointing", "detector/r1")

    def __init__(self, config: PhrasesConfig) -> None:
        self.train, self.test = open_data(config.data)
        self.about = require(config, self.train)
        self.config = settled(config, self.about)
        self.presets = {name: settled(preset, self.about) for name, preset in PRESETS.items()}

    def tags(self) -> dict[str, str]:
        student = self.config.student
        clip = student.features == "clip"
        words = "learned" if student.glove is None else Path(student.glove).name
        return {
            "protocol": self.config.protocol,
            "student": f"{student.channels} channels",
            "teacher": self.config.teacher.model if clip else "detector",
            "lexicon": self.config.teacher.model if clip else words,
        }

    def student(self) -> Encoders:
        return untrained_student(self.config, self.train, self.test)

    def describe(self, student: Encoders) -> dict[str, Any]:
        return {"words": len(student.vocabulary.known), "parameters": student.size}

    def collate(self, student: Encoders) -> PhraseCollate:
        data, distillation = self.config.data, self.config.distillation
        return PhraseCollate(
            words=student.vocabulary,
            captions=data.captions,
            phrases=data.phrases,
            distil=distillation.support != "none",
            neighbours=distillation.neighbours,
            mask_padding=data.mask_padding,
            photo_size=student.photo_size,
            regions=None if data.mask_padding else self.about.most_regions,
            seed=self.config.loop.seed,
        )

    @classmethod
    def method(cls, config: PhrasesConfig, initial: Path) -> Ckd:
        return Ckd(load_student(config, initial), config.contrast, config.distillation)

    def load(self, folder: Location) -> Encoders:
        return load_student(self.config, folder)

    def measure(self, held_out: Sequence[int]) -> PhraseMeasure:
        """R@1 of the held-out images; DataError if no phrase has a box."""
        if not self.about.boxed:
            raise DataError(
                f"no phrase of {self.train.path} has a box to validate with; write --validation.holdout_every 0"
            )
        return PhraseMeasure()

    def score(
        self, before: None, initial: Location, trained: Location, resources: Resources, folder: Path
    ) -> Report:
        """The student, chance and, if there is one, the detector on the test images; some are drawn."""
        assert self.test is not None
        student, names = self.load(trained), ["student"]
        if CaptionSet.of(self.test.manifest).posteriors:
            names += ["detector", "fused"] if self.config.fuse else ["detector"]
        totals, random = {name: PhraseScores() for name in ("random", *names)}, scores.chance()
        build = _Scorer(self.config, trained, tuple(names))
        for part, outlines in score(self.test, build, "scoring", resources.workers, resources.gpus, TOGETHER):
            for name, scored in part.items():
                totals[name].extend(scored)
            # Here, because chance draws image after image.
            for image in outlines:
                totals["random"].add(image, random(image))
        for index in spread(len(self.test), PICTURED):
            sample = self.test.read(index)
            pictures.draw(folder / f"phrases_{sample.token}.png", sample, student.ground(sample))
        cost = Cost.of(student, self.test.read(0))
        metrics = scores.metrics(totals) | {
            "grounding/multiplications": float(cost.multiplications),
            "grounding/milliseconds": cost.milliseconds,
        }
        return Report(metrics, f"{scores.table(totals)}\n{cost}")


@dataclass(frozen=True)
class _Scorer:
    """Builds, in a scoring process, the function that scores some images."""

    config: PhrasesConfig
    student: Location
    names: tuple[str, ...]
    """What is scored, of `grounders`."""

    def __call__(self, device: torch.device) -> Callable[[list[CaptionedImage]], Part]:
        student = load_student(self.config, self.student).to(device)
        chosen = {name: grounders(student, self.config.fuse)[name] for name in self.names}

        def count(images: list[CaptionedImage]) -> Part:
            parts = {name: PhraseScores() for name in chosen}
            for image in images:
                for name, ground in chosen.items():
                    parts[name].add(image, ground(image))
            return parts, [outline(image) for image in images]

        return count


def grounders(student: Encoders, fuse: float) -> dict[str, Grounder]:
    """The student, the detector, and both added; the student never gets the detector's posteriors."""

    def alone(sample: CaptionedImage) -> NDArray[np.float32]:
        return student.ground(replace(sample, posteriors=None))

    return {"student": alone, "detector": scores.believed, "fused": scores.fused(alone, fuse)}


def outline(image: CaptionedImage) -> CaptionedImage:
    """The image without the inputs of networks: enough to score predictions."""
    regions = len(image.boxes)
    bare, none = np.zeros((regions, 0), np.float16), np.zeros((regions, 0), np.int16)
    return replace(image, features=bare, posteriors=None, neighbours=none, photo=None)


def open_data(data: PhraseDataConfig) -> tuple[Images, Images | None]:
    """Training and test shards, or synthetic images if none are named; DataError if no phrase of the test images
    has a box, or features have another width than in training."""
    train_folder, test_folder = shard_folders(data, _synthetic, "test")
    train = open_samples(train_folder, CAPTIONED_IMAGE)
    if test_folder is None:
        return train, None
    test = open_samples(test_folder, CAPTIONED_IMAGE)
    about, other = CaptionSet.of(train.manifest), CaptionSet.of(test.manifest)
    if not other.boxed:
        raise DataError(f"no phrase of {test_folder} has a box to score with; leave --data.test out")
    if about.statistics.width != other.statistics.width:
        raise DataError(
            f"{test_folder} has features of {other.statistics.width} channels, {train_folder} of "
            f"{about.statistics.width}; use regions of one backbone for both"
        )
    return train, test


def _synthetic(split: str) -> str:
    from datasets.synthetic_images.shards import synthetic_image_shards  # not needed for real data

    return synthetic_image_shards(split)


def require(config: PhrasesConfig, train: Images) -> CaptionSet:
    """Description of the training shards; DataError if the losses need more than they have. Prints the coverage."""
    about, distillation, again = CaptionSet.of(train.manifest), config.distillation, train.manifest.again
    if config.student.features == "clip" and not about.photos:
        raise DataError(
            f"{train.path} has no photos for CLIP; make shards with them: {again({'options.photos': 'true'})}"
        )
    if distillation.support == "none":
        return about
    if not about.posteriors:
        raise DataError(f"{train.path} has no detector's posteriors; write --distillation.support none")
    if not about.mapped:
        raise DataError(
            f"no phrase of {train.path} names a class of the detector; write "
            "--distillation.support none, or make shards that ask WordNet: "
            f"{again({'options.wordnet': 'wn'})}"
        )
    if distillation.support == "neighbours" and distillation.neighbours > about.neighbours:
        raise DataError(
            f"{train.path} keeps {about.neighbours} neighbours of a region, distillation.neighbours asks for "
            f"{distillation.neighbours}; write --distillation.neighbours {about.neighbours}, or make shards with "
            f"more: {again({'options.neighbours': distillation.neighbours})}"
        )
    say(about.coverage)
    return about


def settled(config: PhrasesConfig, about: CaptionSet) -> PhrasesConfig:
    """The config with the temperature of CKD's code for the detector's classes, unless one is given."""
    return replace(config, distillation=config.distillation.settled(len(about.classes)))


def untrained_student(config: PhrasesConfig, train: Images, test: Images | None) -> Encoders:
    """A student for the regions and the words of the training shards; for those of the test shards too, if vectors
    come from a file."""
    about = CaptionSet.of(train.manifest)
    words = set(about.words)
    if config.student.glove is not None and test is not None:
        words |= set(CaptionSet.of(test.manifest).words)
    if config.student.features == "files":
        return make_student(config.student, words, about.statistics)
    return ClipStudent(config.student, tuple(sorted(words)), config.teacher)


def load_student(config: PhrasesConfig, folder: Location) -> Encoders:
    """The saved student."""
    return (PhraseStudent if config.student.features == "files" else ClipStudent).load(folder)


run = partial(start, PhrasesTask)
