"""What cannot be placed is refused, and reading keeps a CPU."""

from __future__ import annotations

import pytest
import ray

from scenelift.cluster import resources
from scenelift.cluster.resources import fit
from scenelift.errors import ClusterError


def test_a_cluster_that_grows_is_judged_by_what_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine but the head is there yet."""
    groups = '[{"CPU": 8, "GPU": 1, "machines": 4}, {"CPU": 16, "machines": 2}]'
    monkeypatch.setenv(resources.GROWS_TO, groups)
    assert (resources.total("CPU"), resources.total("GPU")) == (64, 4)
    assert resources.worker_cpus(4, 1.0) == 8
    assert resources.side_by_side(2, None, 1.0, 1.0, 10) == (2, 8.0)
    resources.require(4, 8.0, gpus=1)
    with pytest.raises(ClusterError, match=r"64 CPU.* and 4 GPU; 4 fit, so lower scale.workers to 4"):
        resources.require(5, 6.0, gpus=1)


@pytest.mark.ray
def test_more_workers_than_fit_are_refused_with_the_number_that_fits(ray_session: None) -> None:
    cpus = int(ray.cluster_resources()["CPU"])
    resources.require(cpus - 1, 1.0)
    with pytest.raises(
        ClusterError, match=rf"{cpus} workers .*; {cpus - 1} fit, so lower scale.workers to {cpus - 1}"
    ):
        resources.require(cpus, 1.0)
    with pytest.raises(ClusterError, match="0 fit"):
        resources.require(1, 1.0, gpus=64)


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2, 3, 4, 6])
def test_worker_cpus_leave_room_for_reading(ray_session: None, workers: int) -> None:
    cpus = resources.worker_cpus(workers)
    resources.require(workers, cpus)
    assert workers * cpus + 1 <= ray.cluster_resources()["CPU"]
    assert cpus == 0.5 or (cpus == int(cpus) and cpus * workers <= max(resources.cores(), workers))


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "placed"),
    [
        ([{"CPU": 8.0}], 2, 0, 3),
        ([{"CPU": 3.0}, {"CPU": 3.0}], 2, 0, 2),
        ([{"CPU": 3.0}, {"CPU": 3.0}], 4, 0, 0),
        ([{"CPU": 32.0, "GPU": 4.0}, {"CPU": 64.0}], 4, 1, 4),
        ([{"CPU": 9.0, "GPU": 8.0}], 2, 1, 4),
        ([{"GPU": 1.0}], 1, 1, 0),
        ([{"CPU": 2.0}], 0.1, 0, 10),
    ],
)
def test_workers_are_not_split_over_machines(
    nodes: list[dict[str, float]], cpus: float, gpus: float, placed: int
) -> None:
    assert fit(nodes, cpus, gpus, data_cpus=1) == placed
