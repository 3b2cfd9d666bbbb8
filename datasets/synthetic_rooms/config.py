"""The configuration of the synthetic rooms and of their simulated detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenelift.config.constraints import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Seed,
    Settings,
)


@dataclass(frozen=True)
class DetectorConfig(Settings):
    """What the made-up detector gets wrong."""

    features: PositiveInt = 64
    """Channels of a proposal's feature."""
    noise: NonNegativeFloat = 0.15
    """Deviation of the noise on each channel; the signal's is about 1."""
    class_noise: NonNegativeFloat = 1.0
    """Deviation of the noise on class logits; the right class stands out by 4."""
    least_iou: Fraction = 0.4
    """A proposal of an object overlaps with it by at least this IoU."""
    doubles: Fraction = 0.25
    """Share of the objects that are proposed twice."""
    missed: Fraction = 0.02
    """Share of the objects that are not proposed at all."""
    background: NonNegativeInt = 12
    """Proposals of nothing in each room; one in eight of them is taken for an object."""


@dataclass(frozen=True)
class RoomsConfig(Settings):
    """Rooms of simple furniture, described in a grammar with real ambiguity, as ScanNet's and ScanRefer's files."""

    out: Path = Path("data/synthetic-rooms")
    """Folder to write to."""
    train: PositiveInt = 400
    """Rooms of the training split."""
    val: PositiveInt = 100
    """Rooms of the test split."""
    sentences: PositiveInt = 16
    """Sentences about each room, at most."""
    seed: Seed = 0
    """Decides everything."""
    detector: DetectorConfig = DetectorConfig()
    """The detector whose output is written beside the rooms."""

    def splits(self) -> dict[str, list[str]]:
        """Split -> its rooms, named as ScanNet's scenes."""
        names = [f"scene{number:04d}_00" for number in range(self.train + self.val)]
        return {"train": names[: self.train], "val": names[self.train :]}


PRESETS = {
    "demo": RoomsConfig(),
    "tiny": RoomsConfig(out=Path("data/tiny-rooms"), train=6, val=3, sentences=6),
}
"""`demo`: what trainables.ground trains on by default; `tiny`: for tests."""
