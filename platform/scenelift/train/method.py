"""What a trainable method is to the loop: a module that turns a batch into losses by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Batch(Protocol):
    """What the loop asks of a batch; everything else of it is between a collate and its method."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Which samples these are."""

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""


@dataclass(frozen=True)
class Progress:
    """Where in the training a step stands, for methods whose losses change on the way."""

    step: int
    """Optimizer steps done before this one."""
    epoch: int
    """Epochs done before this one."""
    epochs: int
    """Epochs of the whole training."""


class Trained(Protocol):
    """What a checkpoint asks of the trained part of a method."""

    def save(self, folder: Path) -> None:
        """Write everything that using it later needs into an existing folder."""

    def restore(self, folder: Path) -> None:
        """Take over the weights that `save` wrote."""


class Method(nn.Module):
    """Base of all methods: `student` is trained and saved, everything else is frozen.

    Subclasses implement `forward(batch, progress)`: losses by name, float32 scalars. The loop multiplies them by
    `weights` and sums, so sweeping over loss weights needs no code.
    """

    student: nn.Module
    weights: dict[str, float]

    def forward(self, batch: Any, progress: Progress) -> dict[str, Tensor]:
        """Losses of one batch by name; every name has an entry in `weights`."""
        raise AssertionError(f"{type(self).__name__} has no forward")
