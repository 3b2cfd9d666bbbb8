"""The length of a training, and the frames of each of its steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import ConfigError
from scenelift.train.config import LoopConfig


@dataclass(frozen=True)
class Plan:
    """The frames of each optimizer step: a function of seed, epoch and step alone, so that any step can be resumed.

    A step's batch is cut into `parts` micro-batches, as many as its most workers take in `loop.accumulate` rounds.
    The workers that there are take them in turn, in as many rounds as they need, and the gradient is the mean over
    all parts: batch, micro-batches and learning rate are the same whatever the number of workers.
    """

    frames: int
    loop: LoopConfig
    workers: int
    """Workers that train now."""
    most: int = 0
    """Workers that the run may come to have; 0: no more than now."""

    def __post_init__(self) -> None:
        loop, most = self.loop, max(self.workers, self.most)
        if loop.batch % self.parts:
            raise ConfigError(
                f"loop.batch {loop.batch} cannot be split over {most} workers x {loop.accumulate} "
                f"micro-batches; write --loop.batch {-(-loop.batch // self.parts) * self.parts}, or another "
                f"multiple of {self.parts}"
            )
        if self.frames < loop.batch:
            raise ConfigError(
                f"{self.frames} training samples do not fill one batch of {loop.batch}; {self._smaller(most)}"
            )

    def _smaller(self, most: int) -> str:
        """What to write for batches that the samples fill."""
        if not self.frames:
            return "use shards that have some"
        if self.frames >= self.parts:
            return f"write --loop.batch {self.frames // self.parts * self.parts}"
        once = " --loop.accumulate 1" if self.loop.accumulate > 1 else ""
        one = " --scale.workers 1" if most > 1 else ""
        return f"write --loop.batch {self.frames}{one}{once}"

    @property
    def parts(self) -> int:
        """Micro-batches of an optimizer step."""
        return max(self.workers, self.most) * self.loop.accumulate

    @property
    def rounds(self) -> int:
        """Micro-batches that a worker takes each step."""
        return -(-self.parts // self.workers)

    @property
    def micro(self) -> int:
        """Frames a worker collates at once."""
        return self.loop.batch // self.parts

    def turns(self, rank: int) -> list[tuple[int, bool]]:
        """(micro-batch, whether it counts) for each round of a worker. Workers without a micro-batch in the
        last round repeat an earlier one, which does not count, as all must compute and exchange equally often."""
        taken = [turn * self.workers + rank for turn in range(self.rounds)]
        return [(part, True) if part < self.parts else (part - self.workers, False) for part in taken]

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; frames that fill no batch wait for another epoch's order."""
        return self.frames // self.loop.batch

    @property
    def steps(self) -> int:
        """Optimizer steps until the training is over, or is to stop."""
        return self.steps_per_epoch * (self.loop.stop_after or self.loop.epochs)

    def saved(self, done: int) -> bool:
        """Whether a checkpoint is written after N optimizer steps."""
        return done % (self.loop.checkpoint_every or self.steps_per_epoch) == 0 or done == self.steps

    def saves(self, done: int) -> int:
        """Checkpoints that are written after optimizer step `done`."""
        every = self.loop.checkpoint_every or self.steps_per_epoch
        return self.steps // every - done // every + (done < self.steps and self.steps % every > 0)

    def indices(self, start: int, rank: int) -> NDArray[np.int64]:
        """Frame indices of one worker from optimizer step `start` on, micro-batch after micro-batch."""
        parts: list[NDArray[np.int64]] = []
        for epoch in range(start // self.steps_per_epoch, self.steps // self.steps_per_epoch):
            order = epoch_order(self.frames, self.loop.seed, epoch)[: self.steps_per_epoch * self.loop.batch]
            own = [part for part, _ in self.turns(rank)]
            rows = order.reshape(self.steps_per_epoch, self.parts, -1)[:, own]
            parts.append(rows[max(0, start - epoch * self.steps_per_epoch) :].reshape(-1))
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def epoch_order(samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """[samples] a permutation that depends on seed and epoch alone."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(samples).astype(np.int64)
