"""Frames in memory and a small student, for what is measured while a student trains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.config import VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from tests.made.frames import VOCABULARY, made_up_frame

SIZE = 4.0


class FakeShards:
    """What validation asks of shards, from frames in memory."""

    path = "made-up"
    vocabulary = VOCABULARY

    def __init__(self, frames: int, scenes: int, lidar_sweeps: int = 1, labels: bool = True) -> None:
        options = ReadOptions(image_size=(8, 12), lidar_sweeps=lidar_sweeps)
        self.frames = [made_up_frame(f"frame-{i:05d}", options) for i in range(frames)]
        self.scenes = tuple(f"scene-{i * scenes // frames}" for i in range(frames))
        self.about = SimpleNamespace(labeled=labels)

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> Frame:
        return self.frames[index]


def shards(*args: Any, **kwargs: Any) -> Any:
    return FakeShards(*args, **kwargs)


def student() -> Student:
    torch.manual_seed(0)
    config = StudentConfig(VoxelConfig(SIZE, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,)))
    return Student(config, 1, torch.randn(3, 8), VOCABULARY, {"semantic": 8})
