"""Settings of reading rooms with sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from scenelift.config.constraints import NonNegativeInt, Settings

Corpus = Literal["scanrefer", "nr3d", "sr3d"]

Candidates = Literal["detector", "instances"]

PROTOCOLS: dict[Candidates, str] = {
    "detector": "detected boxes",
    "instances": "true instances",
}
"""Kind of candidates -> its name in score labels. A hit is a box with enough overlap, or the instance itself
(ws3dvg.md 10.3, 18)."""


@dataclass(frozen=True)
class RoomOptions(Settings):
    """How rooms are read."""

    points: NonNegativeInt = 4096
    """Points kept of each room, for pictures."""
