"""Settings of every training: its loop, its optimizer, its workers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from scenelift.cluster.resources import require_fit_here
from scenelift.config.constraints import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    Settings,
)
from scenelift.errors import ConfigError

WARM_UP = 2
"""Steps that are not timed: readers start and kernels are chosen."""


SMALLER_SAMPLES = "use smaller samples, a smaller network, or a machine with more memory"
"""Advice where memory is full and a micro-batch is a single sample, from whoever knows nothing of the samples."""


@dataclass(frozen=True)
class WatchConfig(Settings):
    """What is watched while a training runs, and what follows from it. Nothing, unless it is asked for."""

    metric: str | None = None
    """Validation metric that `early_stopping` and `keep_best` go by, larger is better; none: the first there is."""
    early_stopping: NonNegativeInt = 0
    """Stop after N validations in a row without a better metric; 0: train to the end."""
    keep_best: bool = False
    """Write a checkpoint when a validation finds a better metric, and keep the best besides the newest."""
    final: Literal["last", "best"] = "last"
    """Checkpoint whose student the run scores and keeps: the last, or the best by validation."""
    ema: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Decay of an exponential moving average of the student's weights, such as 0.999; 0: none. The average is
    validated, scored, and saved as the student; training goes on with the raw weights."""
    gradient_norm: bool = False
    """Log the norm of the student's gradients before clipping, averaged over steps."""
    profile: str | None = None
    """Optimizer steps START:STOP to profile on the first worker, such as 20:25; writes a trace for Perfetto into
    the run's folder. None: no profile."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.final == "best" and not self.keep_best:
            raise ConfigError("loop.watch.final best needs --loop.watch.keep_best true")
        if self.profile is not None and not self.profiled:
            raise ConfigError(
                f"loop.watch.profile is START:STOP with START before STOP, such as 20:25, not {self.profile}"
            )

    @property
    def profiled(self) -> range:
        """Optimizer steps to profile, counted from 0; empty: none."""
        given = re.fullmatch(r"(\d+):(\d+)", self.profile or "")
        return range(int(given[1]), int(given[2])) if given else range(0)

    @property
    def needs_validation(self) -> bool:
        """Whether some switch goes by a validation metric."""
        return self.keep_best or self.early_stopping > 0


@dataclass(frozen=True)
class LoopConfig(Settings):
    """Length, batches, precision and bookkeeping of a training."""

    epochs: PositiveInt = 20
    """Passes over the shards."""
    stop_after: PositiveInt | None = None
    """Stop after N epochs, none: all. `--run.resume true` without it continues as if the run had never stopped."""
    batch: PositiveInt = 4
    """Frames per optimizer step, over all workers and accumulated micro-batches together."""
    accumulate: PositiveInt = 1
    """Micro-batches per optimizer step."""
    precision: Literal["tf32", "float32", "float16", "bfloat16"] = "tf32"
    """Arithmetic of the networks on a GPU; similarities and losses are always float32. `tf32` and `float16` use
    tensor cores, `bfloat16` does so for dense layers only: sparse convolutions have no such kernels and stay
    float32. On a CPU `tf32` is float32."""
    seed: Seed = 0
    """Decides weights, frame order and augmentation."""
    checkpoint_every: NonNegativeInt = 500
    """Optimizer steps between checkpoints, 0 for one at the end of every epoch; the last step always has one."""
    keep: PositiveInt = 2
    """Newest checkpoints kept."""
    log_every: PositiveInt = 10
    """Optimizer steps between logged metrics."""
    preflight_steps: NonNegativeInt = 0
    """Stop after N optimizer steps and estimate time, memory and disk of the entire run; 0: train."""
    watch: WatchConfig = WatchConfig()
    """Early stopping, the best checkpoint, averaged weights, profiles."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop_after is not None and self.stop_after > self.epochs:
            raise ConfigError(f"loop.stop_after is at most loop.epochs {self.epochs}, not {self.stop_after}")
        if self.preflight_steps and self.preflight_steps <= WARM_UP:
            raise ConfigError(
                f"loop.preflight_steps is more than the {WARM_UP} steps of warming up, or 0 for none, "
                f"not {self.preflight_steps}"
            )


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """The optimizer and its schedule; the defaults are the paper's (clip2scene.md 5)."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    lr: PositiveFloat = 0.1
    """Highest learning rate."""
    head_lr: PositiveFloat | None = None
    """Highest learning rate of the heads' parameters, a group of their own; none: that of the others."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Momentum of SGD, first beta of AdamW."""
    dampening: Fraction = 0.0
    """Dampening of SGD's momentum."""
    weight_decay: NonNegativeFloat = 1e-4
    """Weight decay, on all parameters."""
    schedule: Literal["cosine_epoch", "one_cycle", "constant"] = "cosine_epoch"
    """`cosine_epoch`: cosine to zero, a stair per epoch; `one_cycle`: linear warm-up, then cosine per step;
    `constant`: as it is."""
    warmup: Fraction = 0.0
    """Fraction of all steps spent on warm-up; for one_cycle."""
    clip_norm: PositiveFloat | None = None
    """Largest gradient norm, or none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == "adamw" and self.dampening:
            raise ConfigError("adamw has no dampening; set optimizer.dampening to 0 or optimizer.name to sgd")
        if self.schedule != "one_cycle" and self.warmup:
            raise ConfigError(f"{self.schedule} has no warm-up; set optimizer.schedule to one_cycle")


@dataclass(frozen=True)
class ScaleConfig(Settings):
    """How many processes train, and the resources of each."""

    workers: PositiveInt | str = 1
    """Training workers: a number, or a range such as 2-8 for as many as the cluster has room for. Batch and
    learning rate stay what they are; the batch is a multiple of the most. Fewer where there are fewer GPUs."""
    gpus: NonNegativeFloat | None = None
    """GPUs a worker; none: one where the cluster has any. 0 trains on CPUs beside idle GPUs."""
    cpus: PositiveFloat | None = None
    """Logical CPUs (and threads) a worker; none: as many as fit next to the data loader."""
    data_cpus: PositiveFloat = 1.0
    """Logical CPUs that are left to the data loader: without any, it and the training wait for each other forever.
    More of them help if a run says that the data loader was the bottleneck."""
    placement: Literal["pack", "spread"] = "pack"
    """Workers on as few machines as they fit on, or on as many as there are."""
    retries: NonNegativeInt = 3
    """Lost workers or nodes that a run survives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        given = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", str(self.workers).replace(" ", ""))
        if given is None or not 1 <= int(given[1]) <= int(given[2] or given[1]):
            raise ConfigError(f"scale.workers is a number from 1 or a range such as 2-8, not {self.workers}")
        if self.gpus and self.gpus % 1 and self.max_workers > 1:
            raise ConfigError(
                f"scale.gpus {self.gpus:g} with {self.workers} workers: workers cannot share a GPU; give whole "
                "ones, or scale.workers 1"
            )

    def on(self, gpus: float) -> ScaleConfig:
        """With a GPU for each worker where the cluster has `gpus` of them, or none where it has none.

        Where there are fewer GPUs than workers, as many workers as divide them: the batch can be split so, too.
        """
        if self.gpus is not None:
            return self
        if gpus < 1:
            return replace(self, gpus=0.0)
        if gpus >= self.min_workers:
            return replace(self, gpus=1.0)
        fewer = max(n for n in range(1, int(gpus) + 1) if self.max_workers % n == 0)
        return replace(self, gpus=1.0, workers=fewer)

    def check_here(self, prefix: str = "") -> None:
        super().check_here(prefix)
        if not self.gpus:  # only Ray knows the GPUs
            require_fit_here(self.min_workers, self.cpus or 0.5, self.data_cpus)

    @property
    def min_workers(self) -> int:
        """Workers without which nothing is trained."""
        return int(str(self.workers).partition("-")[0])

    @property
    def max_workers(self) -> int:
        """Workers that are never exceeded."""
        return int(str(self.workers).rpartition("-")[2])
