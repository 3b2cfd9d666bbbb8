"""What we use of Ray's private parts is still there and does what we need it for: run after an upgrade of Ray."""

from __future__ import annotations

import logging
import os
import time

import numpy as np
import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from scenelift.cluster import connect, ray_internals
from scenelift.cluster.ray_internals import Leftovers
from scenelift.io.console import warn_if_untested

pytestmark = pytest.mark.internals

WAIT = 2.0
BLOCKS = 40


@pytest.mark.parametrize(("installed", "warned"), [(ray_internals.TESTED_RAY, 0), ("99.0", 1)])
def test_another_ray_is_told_of_once(
    installed: str, warned: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ray, "__version__", installed)
    with caplog.at_level(logging.WARNING):
        warn_if_untested("Ray", ray.__version__, ray_internals.TESTED_RAY)
        warn_if_untested("Ray", ray.__version__, ray_internals.TESTED_RAY)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == warned and all("pytest -m internals" in text for text in told)


def test_the_installed_ray_is_the_one_that_was_tested() -> None:
    assert ray.__version__ == ray_internals.TESTED_RAY


@pytest.mark.ray
def test_cpus_are_kept_for_reading(ray_session: None) -> None:
    """The coordinator takes the request and its cancellation in the form that we give them."""
    with ray_internals.reserve_data_cpus(0.5):
        pass


@pytest.mark.ray
def test_what_the_machines_hold(ray_session: None) -> None:
    assert 0 < ray_internals.most_free() <= ray.cluster_resources()["CPU"]
    before = ray_internals.object_store()
    kept = ray.put(np.zeros(20 << 20, np.uint8))
    assert ray_internals.object_store() - before >= 18 << 20, (
        "but for what other tests left and Ray gives back"
    )
    del kept


@pytest.mark.ray
def test_a_worker_is_told_its_address(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere")
    ray_internals.know_address()
    assert os.environ["RAY_ADDRESS"] == ray.get_runtime_context().gcs_address


@pytest.mark.ray
def test_what_the_object_store_moves_to_disk_is_counted(ray_session: None) -> None:
    before = ray_internals.spilled()
    size, room = 100 << 20, connect._OBJECT_STORE
    kept = [ray.put(np.zeros(size, np.uint8)) for _ in range(room // size + 3)]
    assert ray_internals.spilled() - before >= size
    assert ray.get(kept[0]).nbytes == size, "what was moved is read again"


@pytest.mark.ray
def test_only_groups_without_workers_are_given_back_and_not_at_once(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote
    class Worker:
        def here(self) -> bool:
            return True

    monkeypatch.setattr(ray_internals, "EVERY", 0.0)
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
    monkeypatch.setattr(ray_internals, "IDLE", 0.0)
    found.free()
    while states()["left"] != "REMOVED" and time.monotonic() < until:
        time.sleep(0.2)
    assert states() == {"left": "REMOVED", "used": "CREATED", "tunes": "CREATED"}
    ray.kill(worker)
    remove_placement_group(used)
    remove_placement_group(tunes)
