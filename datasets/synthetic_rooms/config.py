"""The configuration of the synthetic rooms and of their simulated detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenelift.errors import ConfigError


@dataclass(frozen=True)
class DetectorConfig:
    """What the made-up detector gets wrong."""

    features: int = 64
    """Channels of a proposal's feature."""
    noise: float = 0.15
    """Deviation of the noise on each channel; the signal's is about 1."""
    class_noise: float = 1.0
    """Deviation of the noise on class logits; the right class stands out by 4."""
    least_iou: float = 0.4
    """A proposal of an object overlaps with it at least so much (IoU)."""
    doubles: float = 0.25
    """Share of the objects that are proposed twice."""
    missed: float = 0.02
    """Share of the objects that are not proposed at all."""
    background: int = 12
    """Proposals of nothing in each room; one in eight of them is taken for an object."""


@dataclass(frozen=True)
class RoomsConfig:
    """Rooms of simple furniture, described in a grammar with real ambiguity, as ScanNet's and ScanRefer's files."""

    out: Path = Path("data/synthetic-rooms")
    """Folder to write to."""
    train: int = 400
    """Rooms of the training split."""
    val: int = 100
    """Rooms of the test split."""
    sentences: int = 16
    """Sentences about each room, at most."""
    seed: int = 0
    """Decides everything."""
    detector: DetectorConfig = DetectorConfig()
    """The detector whose output is written beside the rooms."""

    def __post_init__(self) -> None:
        for name in ("train", "val", "sentences"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1, not {getattr(self, name)}")

    def splits(self) -> dict[str, list[str]]:
        """Split -> its rooms, named as ScanNet's scenes."""
        names = [f"scene{number:04d}_00" for number in range(self.train + self.val)]
        return {"train": names[: self.train], "val": names[self.train :]}


PRESETS = {
    "demo": RoomsConfig(),
    "tiny": RoomsConfig(out=Path("data/tiny-rooms"), train=6, val=3, sentences=6),
}
"""`demo`: what trainables.ground trains on by default; `tiny`: for tests."""
