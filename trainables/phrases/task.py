"""One training of phrase grounding: from shards of captioned images to scores and pictures."""

from __future__ import annotations

import dataclasses
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
from scenelift.samples.caption import CaptionedImage
from scenelift.samples.caption_kind import CAPTIONED_IMAGE, CaptionSet
from scenelift.shards.read import Samples, open_samples
from trainables.common.training import shard_folders, start
from trainables.phrases import pictures
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.clip_student import ClipStudent
from trainables.phrases.config import PRESETS, PhraseDataConfig, PhrasesConfig
from trainables.phrases.method import Ckd
from trainables.phrases.scores import (
    OBJECTIVES,
    Cost,
    Grounder,
    PhraseMeasure,
    PhraseScores,
    believed,
    chance,
    fused,
    metrics,
    table,
)
from trainables.phrases.student import Encoders, PhraseStudent, make_student

if TYPE_CHECKING:
    from scenelift.train.launch import Resources

Images = Samples[CaptionedImage]
PICTURED = 3
"""Test images that are drawn."""


class PhrasesTask(Task[CaptionedImage]):
    """Train on sentences and a detector's belief, score against boxes, show what was found."""

    command = "phrases"
    objectives: ClassVar = OBJECTIVES
    columns: ClassVar = ("grounding/r1", "grounding/r5", "grounding/pointing", "detector/r1")

    def __init__(self, config: PhrasesConfig) -> None:
        self.config, self.presets = config, PRESETS
        self.train, self.test = open_data(config.data)
        self.about = require(config, self.train)

    def tags(self) -> dict[str, str]:
        """What tells one training from another."""
        return {"protocol": self.config.protocol, "student": f"{self.config.student.channels} channels"}

    def student(self) -> Encoders:
        """The student as it is before the first step."""
        return begin_student(self.config, self.train, self.test)

    def describe(self, student: Encoders) -> dict[str, Any]:
        """What the logged model says of itself."""
        return {"words": len(student.vocabulary.known), "parameters": student.size}

    def collate(self, student: Encoders) -> PhraseCollate:
        """Regions and phrases to tensors."""
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
        """CKD around the student that the folder holds."""
        return Ckd(load_student(config, initial), config.contrast, config.distillation)

    def load(self, folder: Location) -> Encoders:
        """The student of a checkpoint."""
        return load_student(self.config, folder)

    def measure(self, held_out: Sequence[int]) -> PhraseMeasure:
        """R@1 of the held-out images; DataError if no phrase has a box."""
        if not self.about.boxed:
            raise DataError(
                f"no phrase of {self.train.path} has a box to validate with; leave validation.holdout_every at 0"
            )
        return PhraseMeasure()

    def score(
        self, before: None, initial: Location, trained: Location, resources: Resources, folder: Path
    ) -> Report:
        """The student beside chance and, where there is one, the detector; some images are drawn."""
        assert self.test is not None
        student, names = self.load(trained), ["random", "student"]
        if CaptionSet.of(self.test.manifest).posteriors:
            names += ["detector", "fused"] if self.config.fuse else ["detector"]
        scores, random = {name: PhraseScores() for name in names}, chance()
        build = _Build(self.config, trained, tuple(names[1:]))
        for part, outlines in score(
            self.test, build, "scoring", resources.workers, resources.gpus, _TOGETHER
        ):
            for name, found in part.items():
                scores[name].extend(found)
            # Here, because chance draws image after image.
            for outline in outlines:
                scores["random"].add(outline, random(outline))
        for index in spread(len(self.test), PICTURED):
            sample = self.test.read(index)
            pictures.draw(folder / f"phrases_{sample.token}.png", sample, student.ground(sample))
        spent = Cost.of(student, self.test.read(0))
        figures = metrics(scores) | {
            "grounding/multiplications": float(spent.multiplications),
            "grounding/milliseconds": spent.milliseconds,
        }
        return Report(figures, f"{table(scores)}\n{spent}")


_TOGETHER = 16
"""Test images that one task reads and scores."""


@dataclass(frozen=True)
class _Build:
    config: PhrasesConfig
    student: Location
    names: tuple[str, ...]
    """Who is scored besides chance."""

    def __call__(
        self, device: torch.device
    ) -> Callable[[list[CaptionedImage]], tuple[dict[str, PhraseScores], list[CaptionedImage]]]:
        known = grounders(load_student(self.config, self.student).to(device), self.config.fuse)
        chosen = {name: known[name] for name in self.names}

        def judge(images: list[CaptionedImage]) -> tuple[dict[str, PhraseScores], list[CaptionedImage]]:
            scores = {name: PhraseScores() for name in chosen}
            for image in images:
                for name, ground in chosen.items():
                    scores[name].add(image, ground(image))
            return scores, [outline(image) for image in images]

        return judge


def grounders(student: Encoders, fuse: float) -> dict[str, Grounder]:
    """The student, the detector alone, and both together. The student is given images without posteriors: it cannot
    ask the detector."""

    def blind(sample: CaptionedImage) -> NDArray[np.float32]:
        return student.ground(dataclasses.replace(sample, posteriors=None))

    return {"student": blind, "detector": believed, "fused": fused(blind, fuse)}


def outline(image: CaptionedImage) -> CaptionedImage:
    """The image without what a network reads of it: what scoring needs besides scores."""
    regions = len(image.boxes)
    bare, none = np.zeros((regions, 0), np.float16), np.zeros((regions, 0), np.int16)
    return replace(image, features=bare, posteriors=None, neighbours=none, photo=None)


def open_data(data: PhraseDataConfig) -> tuple[Images, Images | None]:
    """Training and test shards; synthetic images are made where none are named.

    Raises DataError where no phrase of the test images has a box, or features have another width than in training.
    """
    train_place, test_place = shard_folders(data, _synthetic, "test")
    train = open_samples(train_place, CAPTIONED_IMAGE)
    if test_place is None:
        return train, None
    test = open_samples(test_place, CAPTIONED_IMAGE)
    about, other = CaptionSet.of(train.manifest), CaptionSet.of(test.manifest)
    if not other.boxed:
        raise DataError(f"no phrase of {test_place} has a box to score with; leave data.test out")
    if about.statistics.width != other.statistics.width:
        raise DataError(
            f"{test_place} has features of {other.statistics.width} channels, {train_place} of "
            f"{about.statistics.width}; use regions of one backbone for both"
        )
    return train, test


def _synthetic(split: str) -> str:
    from datasets.synthetic_images.shards import synthetic_image_shards  # which real data can spare

    return synthetic_image_shards(split)


def require(config: PhrasesConfig, train: Samples[CaptionedImage]) -> CaptionSet:
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
    say(about.coverage)
    return about


def words_of_shards(config: PhrasesConfig, train: Images, test: Images | None) -> set[str]:
    """The words that a student is made for: those of the training phrases; where a file has vectors of all words,
    those of the test phrases too."""
    words = set(CaptionSet.of(train.manifest).words)
    if config.student.glove is not None and test is not None:
        words |= set(CaptionSet.of(test.manifest).words)
    return words


def begin_student(config: PhrasesConfig, train: Images, test: Images | None) -> Encoders:
    """An untrained student for the words and the regions of these shards."""
    words = words_of_shards(config, train, test)
    if config.student.features == "files":
        return make_student(config.student, words, CaptionSet.of(train.manifest).statistics)
    return ClipStudent(config.student, tuple(sorted(words)), config.teacher)


def load_student(config: PhrasesConfig, folder: Location) -> Encoders:
    """The student that a folder holds."""
    return (PhraseStudent if config.student.features == "files" else ClipStudent).load(folder)


run = partial(start, PhrasesTask)
