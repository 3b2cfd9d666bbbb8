"""A source of frames made up from their names alone, for tests of everything behind the adapters."""

from __future__ import annotations

import io
import time
import zlib
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from scenelift.errors import DataError, FrameError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary

CLASSES = ("car", "tree", "road")
CAMERAS = ("front", "back")
VOCABULARY = Vocabulary("made-up-3", CLASSES, (("car",), ("tree", "bush"), ("road",)), ((9, 9, 9),) * 3)


@dataclass(frozen=True)
class MadeUpKeyframe:
    token: str


OPTIONS = ReadOptions(image_size=(8, 12))


def made_up_frame(token: str, options: ReadOptions = OPTIONS, points: int = 40) -> Frame:
    """A frame that its token and the options decide; every fifth has no pairs."""
    rng = np.random.default_rng(zlib.crc32(token.encode()))
    count = points + int(rng.integers(points))
    sweep = np.sort(rng.integers(0, options.lidar_sweeps + 1, count)).astype(np.uint8)
    height, width = options.image_size
    pairs = 0 if zlib.crc32(token.encode()) % 5 == 0 else count // 2
    view = np.sort(rng.integers(0, len(CAMERAS), pairs))
    pixels = np.stack([view, rng.integers(0, height, pairs), rng.integers(0, width, pairs)], 1)
    return Frame(
        token=token,
        scene=f"scene-{token[-1]}",
        timestamp=int(rng.integers(1 << 40)),
        points=rng.normal(0, 20, (count, 3)).astype(np.float32),
        features=rng.uniform(0, 255, (count, 1)).astype(np.float32),
        sweep=sweep,
        labels=np.where(sweep == 0, rng.integers(0, len(CLASSES) + 1, count), 0).astype(np.uint8),
        cameras=CAMERAS,
        images=tuple(_jpeg(rng, options.image_size) for _ in CAMERAS),
        image_size=options.image_size,
        pair_points=np.sort(rng.integers(0, count, pairs)).astype(np.int32),
        pair_pixels=pixels.astype(np.int16),
    )


def _jpeg(rng: np.random.Generator, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@dataclass
class MadeUp:
    """`frames` keyframes, of which those numbered in `bad` cannot be read."""

    frames: int = 20
    bad: tuple[int, ...] = ()
    seconds: float = 0.0
    """That reading a frame takes."""
    points: int = 40
    name: str = "made-up"
    version: str = "v0"
    vocabulary: Vocabulary = field(default=VOCABULARY)

    def list_samples(self, split: str | None) -> list[MadeUpKeyframe]:
        if split not in (None, "train"):
            raise DataError(f"unknown split {split}; known: train")
        return [MadeUpKeyframe(f"frame-{number:05d}") for number in range(self.frames)]

    def read(self, keyframe: MadeUpKeyframe, options: ReadOptions) -> Frame:
        time.sleep(self.seconds)
        if int(keyframe.token[-5:]) in self.bad:
            raise FrameError(f"{keyframe.token} is made up to be bad")
        return made_up_frame(keyframe.token, options, self.points)
