"""Resources of a cluster and how many workers fit on it; for this machine without starting Ray."""

from __future__ import annotations

import json
import math
import os

from scenelift.errors import ClusterError

GROWS_TO = "SCENELIFT_GROWS_TO"
"""Variable with the machines that an autoscaling cluster may add, as JSON: [{"CPU": 8, "GPU": 1, "machines":
4}]. Ray's autoscaler does not tell them; see cluster.yaml."""
Node = dict[str, float]
"""Resources of a machine: {"CPU": 8, "GPU": 1}."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def local_cpus() -> int:
    """Logical CPUs of a local Ray: at least 4, as Ray Data hangs if training takes every one."""
    return max(4, cores())


def fit(nodes: list[Node], cpus: float, gpus: float, data_cpus: float) -> int:
    """Number of workers that can be placed while `data_cpus` stay free."""

    def on(node: Node) -> int:
        places = [node.get("CPU", 0) / cpus] + ([node.get("GPU", 0) / gpus] if gpus else [])
        return math.floor(min(places) + 1e-6)

    left = sum(node.get("CPU", 0) for node in nodes) - data_cpus
    return max(0, min(sum(map(on, nodes)), math.floor(left / cpus + 1e-6)))


def require_fit(nodes: list[Node], workers: int, cpus: float, gpus: float, data_cpus: float) -> None:
    """ClusterError if `workers` cannot all be placed while `data_cpus` stay free for reading."""
    placed = fit(nodes, cpus, gpus, data_cpus)
    if placed >= workers:
        return
    total = f"{sum(node.get('CPU', 0) for node in nodes):g} CPU, of which {data_cpus:g} for reading data"
    each = f"{cpus:g} CPU"
    if gpus:
        total += f", and {sum(node.get('GPU', 0) for node in nodes):g} GPU"
        each += f" and {gpus:g} GPU"
    advice = (
        f"lower scale.workers to {placed}" if placed else "ask for less per worker or use a larger machine"
    )
    raise ClusterError(f"{workers} workers of {each} do not fit: Ray has {total}; {placed} fit, so {advice}")


def require_fit_here(workers: int, cpus: float, data_cpus: float) -> None:
    """`require_fit` for the Ray that a command starts on this machine, unless it will join another cluster."""
    if "RAY_ADDRESS" not in os.environ and GROWS_TO not in os.environ:
        require_fit([{"CPU": local_cpus()}], workers, cpus, 0, data_cpus)


SWEEP = "sweep"
"""A resource of the head that limits how many trials of a population run at once."""


def task_cpus() -> float:
    """Logical CPUs of a task that uses a whole core: a local Ray may have more CPUs than cores (`local_cpus`)."""
    nodes = _nodes()
    return max(1.0, nodes[0]["CPU"] / cores()) if len(nodes) == 1 and nodes[0].get("CPU") else 1.0


def worker_cpus(workers: int, gpus_per_worker: float = 0, data_cpus: float = 1) -> float:
    """CPUs, and threads, of each training worker while reading keeps `data_cpus`: as many whole ones as can be
    placed, on one machine at most its cores; 0.5 if there is not one for each."""
    nodes = _nodes()
    most = int(max(node.get("CPU", 0) for node in nodes))
    if len(nodes) == 1:
        most = max(1, min(most, cores() // workers))
    for cpus in range(most, 0, -1):
        if fit(nodes, cpus, gpus_per_worker, data_cpus) >= workers:
            return float(cpus)
    return 0.5


def side_by_side(
    workers: int, cpus: float | None, gpus_per_worker: float, data_cpus: float, most: int
) -> tuple[int, float]:
    """How many trainings, `most` at most, fit at the same time, and the CPUs of each of their workers; cpus:
    None: as many whole ones as do not reduce the number of trainings, on one machine at most its cores."""
    nodes = _nodes()
    held = cores() if len(nodes) == 1 else int(sum(node.get("CPU", 0) for node in nodes))
    for trainings in range(most, 0, -1):
        share = held // (trainings * workers)
        for each in [cpus] if cpus else range(share, 0, -1) if share else [0.5] * (trainings == 1):
            if fit(nodes, each, gpus_per_worker, trainings * data_cpus) >= trainings * workers:
                return trainings, float(each)
    return 0, cpus or 1.0


def require(workers: int, cpus: float, gpus: float = 0, data_cpus: float = 1) -> None:
    """`require_fit` on this cluster, or on the one it may grow to; without this check Ray would wait forever."""
    require_fit(_nodes(), workers, cpus, gpus, data_cpus)


def places(cpus: float, gpus: float = 0, data_cpus: float = 1) -> int:
    """Number of workers with these CPUs and GPUs that fit while `data_cpus` stay free for reading."""
    return fit(_nodes(), cpus, gpus, data_cpus)


def total(kind: str) -> float:
    """CPUs, GPUs or another resource of all machines; of a cluster that grows by itself, once it has grown."""
    return sum(node.get(kind, 0) for node in _nodes())


def _nodes() -> list[Node]:
    """Resources of each machine; of a cluster that grows by itself, of each that it may have."""
    groups = json.loads(os.environ.get(GROWS_TO, "[]"))
    if not groups:
        import ray  # here, as some of our variables count only before it (`cluster.connect`)

        return [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [group for group in groups for _ in range(group["machines"])]
