"""Protects trials from CPUs that a stopped training never gives back, and trainings from losing theirs."""

from __future__ import annotations

import time

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from scenelift.cluster import leftovers
from scenelift.cluster.leftovers import Leftovers


@pytest.mark.ray
def test_only_groups_without_workers_are_given_back_and_not_at_once(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote
    class Worker:
        def here(self) -> bool:
            return True

    monkeypatch.setattr(leftovers, "EVERY", 0.0)
    left, used = (placement_group([{"CPU": 0.25}, {"CPU": 0.25}]) for _ in range(2))
    tunes = placement_group([{"CPU": 0.01}])
    groups = {"left": left, "used": used, "tunes": tunes}
    for group in groups.values():
        assert group.wait(60)
    place = PlacementGroupSchedulingStrategy(used)
    worker = Worker.options(num_cpus=0.25, scheduling_strategy=place).remote()  # type: ignore[attr-defined]
    assert ray.get(worker.here.remote())

    def states() -> dict[str, str]:
        return {name: placement_group_table(group)["state"] for name, group in groups.items()}

    def idle(found: Leftovers) -> list[str]:
        names = {group.id.hex(): name for name, group in groups.items()}
        return [names[group] for group in found._idle() if group in names]

    found, until = Leftovers(0.25), time.monotonic() + 30
    while idle(found) != ["left"] and time.monotonic() < until:  # what is free is known with a delay
        time.sleep(0.2)
    assert idle(found) == ["left"]
    found.free()
    assert states() == dict.fromkeys(groups, "CREATED"), "it may be about to begin"
    monkeypatch.setattr(leftovers, "IDLE", 0.0)
    found.free()
    while states()["left"] != "REMOVED" and time.monotonic() < until:
        time.sleep(0.2)
    assert states() == {"left": "REMOVED", "used": "CREATED", "tunes": "CREATED"}
    ray.kill(worker)
    remove_placement_group(used)
    remove_placement_group(tunes)
