"""The interface of methods to the training loop: a module that turns a batch into losses by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Batch(Protocol):
    """The interface of batches to the loop; the rest is between a collate and its method."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the samples."""

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""


@dataclass(frozen=True)
class Progress:
    """Position of a step in the training, for losses that change with it."""

    step: int
    """Optimizer steps done before this one."""
    epoch: int
    """Epochs done before this one."""
    epochs: int
    """Epochs of the whole training."""


class Trained(Protocol):
    """The interface of the trained part of a method to checkpoints."""

    def save(self, folder: Path) -> None:
        """Write everything needed to use it into an existing folder."""

    def restore(self, folder: Path) -> None:
        """Load the weights that `save` wrote."""


class Method(nn.Module):
    """Base of all methods; only `student` is trained and saved. Subclasses implement `forward(batch,
    progress)`: losses by name, float32 scalars, which the loop multiplies by `weights` and sums."""

    student: nn.Module
    weights: dict[str, float]

    def forward(self, batch: Any, progress: Progress) -> dict[str, Tensor]:
        """Losses of one batch by name; every name has an entry in `weights`."""
        raise AssertionError(f"{type(self).__name__} has no forward")
