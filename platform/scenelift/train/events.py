"""What workers tell the main process while they train: events, and the mistake that ends a training."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class _Mailbox:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.wrong: dict[str, str] | None = None

    def report_fatal(self, mistake: dict[str, str]) -> None:
        self.wrong = self.wrong or mistake

    def mistake(self) -> dict[str, str] | None:
        return self.wrong

    def put(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def drain(self) -> list[dict[str, Any]]:
        events, self.events = self.events, []
        return events


class Board:
    """Where workers leave events for the driver: a handle that pickles, in front of a Ray actor."""

    def __init__(self) -> None:
        # Beside the driver: what needs no CPU may come to lie anywhere, and a spot machine takes it along.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()

    def put(self, event: dict[str, Any]) -> None:
        """Leave an event of plain values; returns at once."""
        self._mailbox.put.remote(event)

    def report_fatal(self, kind: str, message: str) -> None:
        """Leave a user's mistake, which no new attempt can mend; returns when it has arrived."""
        ray.get(self._mailbox.report_fatal.remote({"type": kind, "message": message}))

    def mistake(self) -> dict[str, str] | None:
        """The first mistake that was left: type and message."""
        try:
            return ray.get(self._mailbox.mistake.remote())
        except ray.exceptions.RayError:
            return None

    def drain(self) -> list[dict[str, Any]]:
        """Events since the last call, those of one worker in its order; none if the actor has died."""
        try:
            return ray.get(self._mailbox.drain.remote())
        except ray.exceptions.RayError:
            return []
