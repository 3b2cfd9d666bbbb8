"""Placement groups that nothing uses any more, and that would keep their CPUs from the trials to come."""

from __future__ import annotations

import time
from collections.abc import Iterator

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

EVERY = 10.0
"""Seconds between two looks."""
IDLE = 60.0
"""Seconds without a worker after which a group is given back; workers of a new one take seconds to start."""


class Leftovers:
    """Frees what Ray Train leaves behind where a trial is stopped.

    Tune kills the process of the trial, and Ray then everything that hangs on it. Ray Train 2.60 may see its
    workers go first and ask for new ones while it is being killed itself: nobody knows of that group.
    """

    def __init__(self, cpus: float) -> None:
        """cpus: of each worker of a training, which tells its groups from those of Tune."""
        self.cpus = cpus
        self._due = 0.0
        self._since: dict[str, float] = {}

    def free(self) -> None:
        """Look, now and then, and remove the groups that have been idle for too long."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY
        self._since = {group: self._since.get(group, now) for group in self._idle()}
        for group, since in self._since.items():
            if now - since >= IDLE:
                remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))

    def _idle(self) -> Iterator[str]:
        """Groups of this job's trainings in which no worker has its CPUs."""
        job, free = ray.get_runtime_context().get_job_id(), ray.available_resources()
        for group, what in placement_group_table().items():
            cpus = [bundle.get("CPU") for bundle in what["bundles"].values()]
            ours = group.endswith(job) and set(cpus) == {self.cpus}  # a group's name ends in its job's
            if ours and what["state"] == "CREATED" and free.get(f"CPU_group_{group}", 0.0) >= sum(cpus):
                yield group
