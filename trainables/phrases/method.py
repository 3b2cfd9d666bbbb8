"""CKD: a student finds what phrases speak of in images, from sentences alone and a detector's belief.

Two parts (ckd.md 4 and 5): sentences are held against images by the best region of each phrase, and around its own
choice the student follows a detector's belief in the regions. No detector is used at test.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scenelift.train.method import Method, Progress
from trainables.phrases import losses
from trainables.phrases.batch import PhraseBatch
from trainables.phrases.config import ContrastConfig, DistillationConfig
from trainables.phrases.student import Encoders


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
            terms: dict[str, Tensor] = {}
            if "contrast" in self.weights:
                terms["contrast"] = self._contrast(cosines, batch)
            if "distillation" in self.weights:
                terms["distillation"] = self._weight(progress.step) * self._distil(cosines, batch)
        return terms

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
            config.teacher_temperature or 1.0,  # a task settles it
            config.teacher == "log belief",
        )

    def _weight(self, step: int) -> float:
        config = self.distillation
        return losses.ramp(step, config.start, config.rise, config.every, config.max_weight)
