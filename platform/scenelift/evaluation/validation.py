"""Validation: scores of the student during training, on held-out training scenes.

Choices between trainings (by a person or by a sweep) use these scores, never those of the test scenes.
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
from scenelift.evaluation.metrics import Counts, confusion, kappa, scores
from scenelift.nn.student import Student
from scenelift.samples.frame import Frame
from scenelift.shards.read import Shards

MIOU = "validation/miou"
"""mIoU over all keyframe points of the held-out frames, if the shards have labels."""
AGREEMENT = "validation/agreement"
"""Cohen's kappa between the student's labels of the keyframe's voxels and of the same voxels in the previous sweep,
if the shards have sweeps. Needs no labels. A constant prediction scores 0."""


@dataclass(frozen=True)
class ValidationConfig:
    """Training scenes that are scored on during the training instead of trained on."""

    holdout_every: int = 0
    """Hold out every n-th training scene (of captioned images: every n-th image); 0: none."""
    max_samples: int = 200
    """Score at most N of the held-out samples, spread evenly."""
    every: int = 1
    """Epochs between two validations; the last epoch is always validated."""

    def __post_init__(self) -> None:
        if self.holdout_every == 1 or self.holdout_every < 0:
            raise ConfigError(
                f"validation.holdout_every is 0, or 2 and more (every n-th is held out), not {self.holdout_every}"
            )
        for name in ("max_samples", "every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"validation.{name} is at least 1, not {getattr(self, name)}")


NO_VALIDATION = ValidationConfig()


@dataclass(frozen=True)
class Validation:
    """Frames that are scored at the end of epochs, a share of them by each training worker."""

    shards: Shards
    frames: tuple[int, ...]
    every: int
    names: tuple[str, ...]
    """Those of `MIOU` and `AGREEMENT` that the shards allow."""

    def __call__(
        self, student: nn.Module, epoch: int, epochs: int, rank: int = 0, workers: int = 1
    ) -> dict[str, float]:
        """The metrics by name after `epoch` of `epochs`, the same on every rank; empty if no validation is due.

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
            for name, counted in self._count(student, self.shards.read(index)).items():
                counts[name] += counted
        student.train(training)
        if workers > 1:
            counts = {name: _sum(matrix, student.text.device) for name, matrix in counts.items()}
        score = {MIOU: lambda matrix: scores(matrix, self.shards.vocabulary).miou, AGREEMENT: kappa}
        return {name: score[name](matrix) for name, matrix in counts.items()}

    def _count(self, student: Student, frame: Frame) -> dict[str, Counts]:
        classes = len(self.shards.vocabulary.classes)
        predicted = student.predict(frame)
        counts = {}
        if MIOU in self.names:
            assert frame.labels is not None
            counts[MIOU] = confusion(frame.labels[frame.keyframe], predicted, classes)
        if AGREEMENT in self.names:
            earlier = sweep_alone(frame, 1)
            points, size = frame.points[frame.keyframe], student.config.voxels.size
            counts[AGREEMENT] = agreement(
                (points, predicted), (earlier.points, student.predict(earlier)), size, classes
            )
        return counts


def hold_out(
    config: ValidationConfig, shards: Shards, frames: Sequence[int] | None
) -> tuple[Sequence[int] | None, Validation | None]:
    """The frames of `frames` (None: all) that remain for training, and the validation.

    Raises ConfigError if either would be empty, DataError if no metric can be computed on the frames.
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
            f"{shards.path} has neither labels nor sweeps, so it cannot be used for validation; make shards with "
            "--lidar_sweeps 1, or leave validation.holdout_every at 0"
        )
    return kept, Validation(shards, tuple(chosen.tolist()), config.every, measured)


def sweep_alone(frame: Frame, sweep: int) -> Frame:
    """A frame whose keyframe points are those of one sweep, without labels and photos."""
    of_sweep = frame.sweep == sweep
    return dataclasses.replace(
        frame,
        points=frame.points[of_sweep],
        features=frame.features[of_sweep],
        sweep=np.zeros(int(of_sweep.sum()), np.uint8),
        labels=None,
        cameras=(),
        images=(),
        pair_points=np.zeros(0, np.int32),
        pair_pixels=np.zeros((0, 3), np.int16),
        superpixels=None,
    )


Labeled = tuple[NDArray[np.float32], NDArray[np.uint8]]
"""[N, 3] points, metres, and [N] their labels."""


def agreement(one: Labeled, other: Labeled, size: float, classes: int) -> Counts:
    """[C, C] counts of voxels of edge `size` with points of both clouds: rows = label in the one cloud, columns =
    label in the other. A student gives all points of a voxel the same label; the first point's is used."""
    (cells, first), (others, other_first) = _cells(one[0], size), _cells(other[0], size)
    _, in_one, in_other = np.intersect1d(cells, others, assume_unique=True, return_indices=True)
    return confusion(one[1][first[in_one]], other[1][other_first[in_other]], classes)


def _cells(points: NDArray[np.float32], size: float) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The occupied cells, as one key each, and the first point of each cell."""
    # 21 bits per axis: keys are unique within 2^20 cells of the origin.
    x, y, z = (np.floor(points / np.float32(size)).astype(np.int64) + (1 << 20)).T
    cells, first = np.unique((x << 42) | (y << 21) | z, return_index=True)
    return cells, first


def _sum(matrix: Counts, device: torch.device) -> Counts:
    """The sum over all ranks."""
    total = torch.from_numpy(matrix).to(device)
    torch.distributed.all_reduce(total)
    return total.cpu().numpy()
