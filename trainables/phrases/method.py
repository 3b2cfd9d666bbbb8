"""CKD: a student finds what phrases speak of in images, from sentences alone and a detector's belief.

`python -m trainables.phrases [PRESET] [--group.field VALUE ...]`

Two parts (ckd.md 4 and 5): sentences are held against images by the best region of each phrase, and around its own
choice the student follows what a detector believes of the regions. At test no detector is asked. Settings and
presets are in `phrases_config.py`, losses in `phrases_losses.py`, the encoders in `phrases_student.py`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from scenelift.cluster import connect as cluster
from scenelift.config.build import command
from scenelift.runs.experiment import experiment
from scenelift.runs.monitor import Observe, ignore
from scenelift.train.launch import Resources
from scenelift.train.method import Method, Progress
from scenelift.train.plan import Plan
from trainables.phrases import losses
from trainables.phrases.batch import PhraseBatch
from trainables.phrases.config import PRESETS, ContrastConfig, DistillationConfig, PhrasesConfig
from trainables.phrases.run import (
    PhraseTraining,
    begin_student,
    load_student,
    make_collate,
    open_data,
    require,
    train_and_score,
)
from trainables.phrases.student import Encoders
from trainables.phrases.validation import hold_out_images


class Ckd(Method):
    """The student learns which image a sentence is about, and from a detector which region is the whole thing."""

    student: Encoders

    def __init__(self, student: Encoders, contrast: ContrastConfig, distillation: DistillationConfig) -> None:
        super().__init__()
        self.student, self.contrast, self.distillation = student, contrast, distillation
        used = {"contrast": contrast.form != "none", "distillation": distillation.support != "none"}
        self.weights = {name: 1.0 for name, here in used.items() if here}

    def forward(self, batch: PhraseBatch, progress: Progress) -> dict[str, Tensor]:
        regions, phrases = (encoded.float() for encoded in self.student.encode(batch))
        with torch.autocast(regions.device.type, enabled=False):
            cosines = torch.einsum("ne,ire->nir", phrases, regions)
            found: dict[str, Tensor] = {}
            if "contrast" in self.weights:
                found["contrast"] = self._contrast(cosines, batch)
            if "distillation" in self.weights:
                found["distillation"] = self._weight(progress.step) * self._distil(cosines, batch)
        return found

    def _contrast(self, cosines: Tensor, batch: PhraseBatch) -> Tensor:
        config, own = self.contrast, batch.sentence_image
        sharpness = config.sharpness if config.regions == "logsumexp" else None
        best = losses.best_regions(cosines, batch.region_mask, sharpness)
        scores = config.logit_scale * losses.image_scores(
            best, batch.phrase_sentence, len(own), config.phrases == "mean"
        )
        against = losses.negatives(own, batch.image_id)
        if config.form == "margin":
            return losses.max_margin(scores, own, against, config.margin)
        loss = losses.contrastive(scores, own, against)
        if config.negatives == "images and sentences":
            loss = loss + losses.contrastive_sentences(scores, own, against)
        return loss

    def _distil(self, cosines: Tensor, batch: PhraseBatch) -> Tensor:
        config, image = self.distillation, batch.phrase_image
        own = cosines[torch.arange(len(image), device=image.device), image]
        mask = batch.region_mask[image]
        if config.support == "all":
            regions = torch.arange(own.shape[1], device=own.device)
            where = torch.where(mask, regions, -1)
        else:
            where = losses.near_choice(own, mask, batch.neighbours[image])
        return losses.distillation(
            own,
            batch.teacher,
            where,
            config.student_temperature,
            config.teacher_temperature,
            config.teacher == "log belief",
        )

    def _weight(self, step: int) -> float:
        config = self.distillation
        return losses.ramp(step, config.start, config.rise, config.every, config.max_weight)


def make_method(config: PhrasesConfig, initial: Path) -> Ckd:
    """The method with the student that the folder holds; called in every training worker."""
    return Ckd(load_student(config, initial), config.contrast, config.distillation)


def run(config: PhrasesConfig, observe: Observe = ignore) -> None:
    """Train on sentences and a detector's belief, score against boxes, show what was found."""
    train, test = open_data(config.data)
    about = require(config, train)
    with cluster.connect():
        resources = Resources.fit(config.scale)
        images, validation = hold_out_images(config.validation, train)
        # Refuses what cannot be split over the workers, or words that are not there, before a run is begun.
        Plan(len(train) if images is None else len(images), config.loop, resources.workers)
        torch.manual_seed(config.loop.seed)
        student = begin_student(config, train, test)
        tags = {
            "dataset": train.manifest.dataset,
            "protocol": config.protocol,
            "student": f"{config.student.channels} channels",
            "seed": str(config.loop.seed),
        }
        with experiment("phrases", config, config.run, config.tracking, tags, PRESETS, observe) as made:
            training = PhraseTraining(
                config=config,
                train=train,
                test=test,
                images=images,
                validation=validation,
                student=student,
                collate=make_collate(config, student, about.most_regions),
                build=partial(make_method, config),
            )
            train_and_score(training, made, resources)


def main() -> None:
    """Entry point."""
    command(run, PhrasesConfig, PRESETS, "python -m trainables.phrases")
