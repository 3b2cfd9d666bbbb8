"""Scores of the student while it trains, on training scenes that are kept out of the training.

What is chosen between trainings (by a person, or by a sweep) is chosen by these and never by the test scenes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scenelift.errors import ConfigError, DataError
from scenelift.evaluation.config import ValidationConfig
from scenelift.evaluation.metrics import Counts, confusion, kappa, scores
from scenelift.nn.student import Student
from scenelift.samples.frame import Frame
from scenelift.shards.read import Shards

MIOU = "validation/miou"
"""mIoU over all keyframe points of the held-out frames; where the shards have labels."""
AGREEMENT = "validation/agreement"
"""Cohen's kappa between what the student says of the keyframe's voxels and of the same voxels in the sweep before;
where the shards have sweeps. Needs no labels. A student that says one thing of everything has none (0)."""


@dataclass(frozen=True)
class Validation:
    """Frames that are scored at the end of epochs, each training worker taking its share."""

    shards: Shards
    frames: tuple[int, ...]
    every: int
    names: tuple[str, ...]
    """Which of `MIOU` and `AGREEMENT` the shards allow for."""

    def __call__(
        self, student: nn.Module, epoch: int, epochs: int, rank: int = 0, workers: int = 1
    ) -> dict[str, float]:
        """The metrics by name after so many epochs, the same on every rank; none where none are due.

        All ranks must call it together.
        """
        if epoch % self.every and epoch < epochs:
            return {}
        assert isinstance(student, Student)
        classes = len(self.shards.vocabulary.classes)
        counts = {name: np.zeros((classes, classes), np.int64) for name in self.names}
        training = student.training
        student.eval()
        for index in self.frames[rank::workers]:
            for name, found in self._count(student, self.shards.read(index)).items():
                counts[name] += found
        student.train(training)
        if workers > 1:
            counts = {name: _sum(matrix, student.text.device) for name, matrix in counts.items()}
        score = {MIOU: lambda matrix: scores(matrix, self.shards.vocabulary).miou, AGREEMENT: kappa}
        return {name: score[name](matrix) for name, matrix in counts.items()}

    def _count(self, student: Student, frame: Frame) -> dict[str, Counts]:
        classes = len(self.shards.vocabulary.classes)
        said = student.predict(frame)
        found = {}
        if MIOU in self.names:
            assert frame.labels is not None
            found[MIOU] = confusion(frame.labels[frame.keyframe], said, classes)
        if AGREEMENT in self.names:
            earlier = sweep_alone(frame, 1)
            points, size = frame.points[frame.keyframe], student.config.voxels.size
            found[AGREEMENT] = agreement(
                (points, said), (earlier.points, student.predict(earlier)), size, classes
            )
        return found


def hold_out(
    config: ValidationConfig, shards: Shards, frames: Sequence[int] | None
) -> tuple[Sequence[int] | None, Validation | None]:
    """What is left to train on of `frames` (None: all), and what is validated on.

    Raises ConfigError if nothing is left on either side, DataError if nothing can be measured on the frames.
    """
    if not config.holdout_every:
        return frames, None
    names = list(dict.fromkeys(shards.scenes))
    held = set(names[config.holdout_every - 1 :: config.holdout_every])
    kept = [i for i in (range(len(shards)) if frames is None else frames) if shards.scenes[i] not in held]
    if not held or not kept:
        raise ConfigError(
            f"validation.holdout_every {config.holdout_every} cannot be taken from the {len(names)} scenes of "
            f"{shards.path} such that both sides have some; give another number, or use more data"
        )
    out = np.array([i for i, scene in enumerate(shards.scenes) if scene in held])
    chosen = out[np.linspace(0, len(out) - 1, min(config.max_samples, len(out))).astype(int)]
    swept = bool(shards.read(int(chosen[0])).sweep.max(initial=0))
    measured = (*((MIOU,) if shards.about.labeled else ()), *((AGREEMENT,) if swept else ()))
    if not measured:
        raise DataError(
            f"{shards.path} has neither labels nor sweeps, so nothing can be validated on it; make shards with "
            "--lidar_sweeps 1, or leave validation.holdout_every at 0"
        )
    return kept, Validation(shards, tuple(chosen.tolist()), config.every, measured)


def sweep_alone(frame: Frame, sweep: int) -> Frame:
    """The points of one sweep as if they were a keyframe's, without labels and photos."""
    mine = frame.sweep == sweep
    return dataclasses.replace(
        frame,
        points=frame.points[mine],
        features=frame.features[mine],
        sweep=np.zeros(int(mine.sum()), np.uint8),
        labels=None,
        cameras=(),
        images=(),
        pair_points=np.zeros(0, np.int32),
        pair_pixels=np.zeros((0, 3), np.int16),
        superpixels=None,
    )


Said = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""[N, 3] points, metres, and [N] a label for each."""


def agreement(one: Said, other: Said, size: float, classes: int) -> Counts:
    """[C, C] voxels of edge `size` that hold points of both clouds: rows = the label there in the one cloud,
    columns in the other. A student gives all points of a voxel the same label; the first point's counts."""
    (cells, first), (others, other_first) = _cells(one[0], size), _cells(other[0], size)
    _, here, there = np.intersect1d(cells, others, assume_unique=True, return_indices=True)
    return confusion(one[1][first[here]], other[1][other_first[there]], classes)


def _cells(points: NDArray[np.float32], size: float) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The cells that hold points, as one number each, and the first point of each cell."""
    x, y, z = (np.floor(points / np.float32(size)).astype(np.int64) + (1 << 20)).T
    cells, first = np.unique((x << 42) | (y << 21) | z, return_index=True)
    return cells, first


def _sum(matrix: Counts, device: torch.device) -> Counts:
    """The sum over all ranks."""
    total = torch.from_numpy(matrix).to(device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()
