"""GroundScores on training rooms that are held out, while a training runs; what sweeps choose by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from scenelift.errors import ConfigError
from scenelift.samples.room import Room
from scenelift.shards.read import Samples
from trainables.ground.model import Grounder
from trainables.ground.scores import MEASURES, Protocol, score

MEASURE: dict[Protocol, str] = {protocol: f"validation/{names[0]}" for protocol, names in MEASURES.items()}
"""Protocol -> the share of the held-out sentences whose object the student finds: `validation/acc25` by an overlap
of 0.25 among detected boxes, `validation/accuracy` by the very instance among true ones."""


@dataclass(frozen=True)
class RoomValidation:
    """Samples that are scored at the end of epochs, each worker taking its share."""

    shards: Samples[Room]
    chosen: tuple[int, ...]
    protocol: Protocol

    def __call__(
        self, student: nn.Module, epoch: int, epochs: int, rank: int = 0, workers: int = 1
    ) -> dict[str, float]:
        """The metric after so many epochs, the same on every rank. All ranks must call it together."""
        assert isinstance(student, Grounder)
        mine = list(self.chosen[rank::workers])
        found = score(student, self.shards.read_many(mine), self.protocol)
        hits = found.sums.get(("student", MEASURES[self.protocol][0], "overall"), 0.0)
        total = torch.tensor([hits, found.counts["overall"]], device=student.vectors.device)
        if workers > 1:
            torch.distributed.all_reduce(total)
        return {MEASURE[self.protocol]: float(total[0] / total[1].clamp(min=1))}


def hold_out(
    every: int, shards: Samples[Room], protocol: Protocol
) -> tuple[Sequence[int] | None, RoomValidation | None]:
    """What is left to train on (None: all), and what is validated on: the sentences of one room of `every`.

    ConfigError if the rooms are too few.
    """
    if not every:
        return None, None
    rooms = list(dict.fromkeys(shards.scenes))
    held = set(rooms[every - 1 :: every])
    kept = [i for i, scene in enumerate(shards.scenes) if scene not in held]
    if not held or not kept:
        raise ConfigError(
            f"data.held_out {every} cannot be taken from the {len(rooms)} rooms of {shards.path} such that both "
            "sides have some; give another number"
        )
    out = tuple(i for i, scene in enumerate(shards.scenes) if scene in held)
    return kept, RoomValidation(shards, out, protocol)
