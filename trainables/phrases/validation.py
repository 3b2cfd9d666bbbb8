"""PhraseScores of a student of phrases while it trains, on training images that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.config import ValidationConfig
from scenelift.samples.caption import CaptionedImage
from scenelift.samples.caption_kind import CaptionSet
from scenelift.shards.read import Samples
from trainables.phrases.scores import PhraseScores
from trainables.phrases.student import Encoders

R1: Final = "validation/r1"
"""Share of the phrases with a box whose best region is right, on the held-out images."""


@dataclass(frozen=True)
class PhraseValidation:
    """Images that are scored at the end of epochs, each training worker taking its share."""

    samples: Samples[CaptionedImage]
    images: tuple[int, ...]
    every: int
    names: tuple[str, ...] = (R1,)

    def __call__(
        self, student: nn.Module, epoch: int, epochs: int, rank: int = 0, workers: int = 1
    ) -> dict[str, float]:
        """The metric by name after so many epochs, the same on every rank; none where none is due.

        All ranks must call it together.
        """
        if epoch % self.every and epoch < epochs:
            return {}
        assert isinstance(student, Encoders)
        training, scores = student.training, PhraseScores()
        student.eval()
        for index in self.images[rank::workers]:
            sample = self.samples.read(index)
            scores.add(sample, student.ground(sample))
        student.train(training)
        counts = torch.tensor([sum((rank == 0).sum() for rank in scores.rank), len(scores.types)])
        if workers > 1:
            counts = counts.to(next(student.parameters()).device)
            torch.distributed.all_reduce(counts)
        right, phrases = counts.tolist()
        return {R1: right / max(phrases, 1)}


def hold_out_images(
    config: ValidationConfig, samples: Samples[CaptionedImage]
) -> tuple[Sequence[int] | None, PhraseValidation | None]:
    """What is left to train on (None: all), and what is validated on.

    Raises ConfigError if nothing is left on either side, DataError if no phrase has a box.
    """
    if not config.holdout_every:
        return None, None
    held = np.arange(config.holdout_every - 1, len(samples), config.holdout_every)
    kept = np.setdiff1d(np.arange(len(samples)), held)
    if not len(held) or not len(kept):
        raise ConfigError(
            f"validation.holdout_every {config.holdout_every} cannot be taken from the {len(samples)} images of "
            f"{samples.path}; give a smaller number, or use more data"
        )
    if not CaptionSet.of(samples.manifest).boxed:
        raise DataError(
            f"no phrase of {samples.path} has a box to validate with; leave validation.holdout_every at 0"
        )
    chosen = held[np.linspace(0, len(held) - 1, min(config.max_samples, len(held))).astype(int)]
    return kept.tolist(), PhraseValidation(samples, tuple(chosen.tolist()), config.every)
