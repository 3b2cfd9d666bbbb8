"""A training that takes seconds, for benchmarks of everything around a training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.config.constraints import Settings
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate, PointBatch
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, Frame, FrameKind
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig
from scenelift.train.job import Job
from scenelift.train.method import Method, Progress

STUDENT = StudentConfig(VoxelConfig(1.0, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,)))
COLLATE = Collate(STUDENT.voxels, Augmentation(), images=False)
OPTIMIZER = OptimizerConfig("adamw", lr=1e-2)
NAMES = Vocabulary("toy", ("low", "high"), (("low",), ("high",)), ((9, 9, 9),) * 2)


@dataclass(frozen=True)
class ToyConfig(Settings):
    """What a run of the toy needs of a config tree."""

    tracking: TrackingConfig = TrackingConfig(experiment="toy", system_metrics=0)
    run: RunConfig = RunConfig()


@dataclass(frozen=True)
class Cloud:
    """A sample key: the number of a cloud."""

    number: int

    @property
    def token(self) -> str:
        return f"cloud-{self.number:05d}"


@dataclass
class Clouds:
    """A data set of random clouds without images."""

    frames: int
    points: int
    name: str = "toy"
    version: str = "v0"
    kind: FrameKind = FRAME
    vocabulary: Vocabulary = NAMES

    def list_samples(self, split: str | None) -> list[Cloud]:
        return [Cloud(number) for number in range(self.frames)]

    def read(self, keyframe: Cloud, options: ReadOptions) -> Frame:
        draw = np.random.default_rng(keyframe.number)
        return Frame(
            token=keyframe.token,
            scene="one",
            timestamp=keyframe.number,
            points=draw.normal(0, 10, (self.points, 3)).astype(np.float32),
            features=draw.uniform(0, 1, (self.points, 1)).astype(np.float32),
            sweep=np.zeros(self.points, np.uint8),
            labels=None,
            cameras=(),
            images=(),
            image_size=options.image_size,
            pair_points=np.zeros(0, np.int32),
            pair_pixels=np.zeros((0, 3), np.int16),
        )


def write(folder: Path, frames: int = 32, points: int = 500) -> str:
    """Make shards of random clouds with the connected Ray, and return their folder."""
    path = str(folder / "shards")
    write_shards(Clouds(frames, points), None, path, ReadOptions(image_size=(8, 12)), 8, progress=False)
    return path


class Heights(Method):
    """Learns which voxels are high. A step lasts at least `pace` seconds until the file `hurry` exists."""

    student: Student

    def __init__(self, pace: float, hurry: Path) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = Student(STUDENT, 1, torch.eye(2, 8), NAMES, {"semantic": 8})
        self.weights = {"height": 1.0}
        self.pace, self.hurry, self.hurried = pace, hurry, pace == 0

    def forward(self, batch: PointBatch, progress: Progress) -> dict[str, Tensor]:
        began = time.monotonic()
        logits = self.student.class_logits(self.student(batch.voxels))
        height = batch.voxels.features[:, 1]  # of the geometry features
        loss = F.cross_entropy(logits, (height > height.mean()).long())
        self.hurried = self.hurried or self.hurry.exists()
        if not self.hurried:
            time.sleep(max(0.0, self.pace - (time.monotonic() - began)))
        return {"height": loss}


@dataclass(frozen=True)
class Build:
    """Makes the method in a worker."""

    pace: float
    hurry: Path

    def __call__(self) -> Method:
        return Heights(self.pace, self.hurry)


def job(shards: str, checkpoints: str, steps: int, every: int, build: Build, batch: int = 4) -> Job:
    """A training of `steps` steps with a checkpoint after every `every` of them."""
    samples = Shards.open(shards)
    epochs = -(-steps * batch // len(samples))
    return Job(
        samples=samples,
        folder=checkpoints,
        loop=LoopConfig(epochs=epochs, batch=batch, checkpoint_every=every, log_every=1),
        optimizer=OPTIMIZER,
        collate=COLLATE,
        build=build,
        retries=1000,
    )
