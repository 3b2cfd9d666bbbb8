"""How many trials of a sweep fit side by side."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from scenelift.cluster import resources
from scenelift.errors import ClusterError
from scenelift.train.config import ScaleConfig


@dataclass(frozen=True)
class Placement:
    """How many trials run at once, and what each worker of theirs gets."""

    max_concurrent: int
    scale: ScaleConfig
    reason: str

    @classmethod
    def fit(cls, scale: ScaleConfig, trials: int, wanted: int | None) -> Placement:
        """As many trials as have their workers and a CPU for reading each; ClusterError if not one has.

        wanted: so many at most; ClusterError if they do not fit, since trials that take each other's CPUs for
        reading would wait for ever.
        """
        gpus = scale.gpus
        if gpus is None:
            gpus = 1.0 if resources.total("GPU") >= scale.max_workers else 0.0
        most, cpus = resources.side_by_side(
            scale.max_workers, scale.cpus, gpus, scale.data_cpus, wanted or trials
        )
        each = f"{scale.max_workers} x {cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        each += f" to train and {scale.data_cpus:g} CPU to read"
        kinds = ("CPU", "GPU") if gpus else ("CPU",)
        there = " and ".join(f"{resources.total(kind):g} {kind}" for kind in kinds)
        if not most:
            raise ClusterError(f"not one trial fits: it takes {each}, Ray has {there}; lower scale.workers")
        if wanted is not None and most < wanted:
            raise ClusterError(f"{most} trials fit at once, not {wanted}: each takes {each}, Ray has {there}")
        counted = "one trial at a time" if most == 1 else f"{most} trials at once"
        return cls(
            most,
            dataclasses.replace(scale, cpus=cpus, gpus=gpus),
            f"{counted}: each takes {each}, Ray has {there}",
        )
