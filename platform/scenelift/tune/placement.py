"""How many trials of a sweep fit at the same time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from scenelift.cluster import resources
from scenelift.errors import ClusterError
from scenelift.train.config import ScaleConfig


@dataclass(frozen=True)
class Placement:
    """How many trials run at the same time, and the resources of each of their workers."""

    max_concurrent: int
    scale: ScaleConfig
    reason: str

    @classmethod
    def fit(cls, scale: ScaleConfig, trials: int, wanted: int | None) -> Placement:
        """As many trials as have their workers and CPUs for the data loader; ClusterError if none fits.

        wanted: at most this many; ClusterError if they do not fit, since trials whose data loaders have no CPU
        would wait forever.
        """
        scale = scale.on(resources.total("GPU"))
        gpus = scale.gpus or 0.0
        most, cpus = resources.side_by_side(
            scale.max_workers, scale.cpus, gpus, scale.data_cpus, wanted or trials
        )
        each = f"{scale.max_workers} x {cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        each += f" to train and {scale.data_cpus:g} CPU for the data loader"
        kinds = ("CPU", "GPU") if gpus else ("CPU",)
        there = " and ".join(f"{resources.total(kind):g} {kind}" for kind in kinds)
        if not most:
            raise ClusterError(f"no trial fits: each needs {each}, Ray has {there}; lower scale.workers")
        if wanted is not None and most < wanted:
            raise ClusterError(f"{most} trials fit at once, not {wanted}: each needs {each}, Ray has {there}")
        counted = "one trial at a time" if most == 1 else f"{most} trials at once"
        return cls(
            most,
            dataclasses.replace(scale, cpus=cpus, gpus=gpus),
            f"{counted}: each needs {each}, Ray has {there}",
        )
