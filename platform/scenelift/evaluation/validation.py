"""Validation: scores of the student during training, on held-out training scenes. Choices between trainings (by
a person or by a sweep) use these scores, never those of the test scenes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scenelift.errors import ConfigError
from scenelift.evaluation.config import ValidationConfig
from scenelift.samples.kind import S
from scenelift.shards.read import Samples

Counts = dict[str, NDArray[Any]]
"""Arrays by name; the metrics follow from their sums over all held-out samples."""
S_contra = TypeVar("S_contra", contravariant=True)


class Measure(Protocol[S_contra]):
    """What is measured of a student on samples that are held out."""

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics; by convention they begin with `validation/`."""

    def count(self, student: Any, samples: Iterable[S_contra]) -> Counts:
        """The counts of one worker on its share of the samples; the same arrays for any share."""

    def metrics(self, counts: Counts) -> dict[str, float]:
        """The metrics by name, from the sums of all workers' counts."""


@dataclass(frozen=True)
class Validation(Generic[S]):
    """Samples that are scored at the end of epochs, each training worker taking its share."""

    samples: Samples[S]
    chosen: tuple[int, ...]
    """Which samples."""
    every: int
    """Epochs between two validations."""
    measure: Measure[S]

    def __call__(
        self, student: nn.Module, epoch: int, epochs: int, rank: int = 0, workers: int = 1
    ) -> dict[str, float]:
        """Metrics after N epochs, the same on every rank; none where none are due. All ranks call it together."""
        if epoch % self.every and epoch < epochs:
            return {}
        training = student.training
        student.eval()
        mine = self.chosen[rank::workers]
        counts = self.measure.count(student, (self.samples.read(index) for index in mine))
        student.train(training)
        if workers > 1:
            device = next(student.parameters()).device
            sums = {name: torch.from_numpy(array).to(device) for name, array in counts.items()}
            for total in sums.values():
                torch.distributed.all_reduce(total)
            counts = {name: total.cpu().numpy() for name, total in sums.items()}
        return self.measure.metrics(counts)


def hold_out(
    config: ValidationConfig, samples: Samples[S], used: Sequence[int] | None = None
) -> tuple[Sequence[int] | None, tuple[int, ...]]:
    """Indices to train on, of the `used` samples (None: all), and indices to score on, maybe none. Whole scenes are
    held out. Raises ConfigError if nothing is left on either side."""
    if not config.holdout_every:
        return used, ()
    names = list(dict.fromkeys(samples.scenes))
    held = set(names[config.holdout_every - 1 :: config.holdout_every])
    kept = [i for i in (range(len(samples)) if used is None else used) if samples.scenes[i] not in held]
    if not held or not kept:
        raise ConfigError(
            f"validation.holdout_every {config.holdout_every} cannot be taken from the {len(names)} scenes of "
            f"{samples.path} such that both sides have some; give another number, or use more data"
        )
    out = np.array([i for i, scene in enumerate(samples.scenes) if scene in held])
    chosen = out[np.linspace(0, len(out) - 1, min(config.max_samples, len(out))).astype(int)]
    return kept, tuple(chosen.tolist())
