"""What a cluster has and what fits on it. Whether a command fits on this machine is known without Ray."""

from __future__ import annotations

import json
import math
import os

from scenelift.errors import ClusterError

GROWS_TO = "SCENELIFT_GROWS_TO"
"""Variable that says which machines a cluster that grows by itself may have beside its head, as JSON: [{"CPU":
8, "GPU": 1, "machines": 4}, ...]. Ray's autoscaler knows it and tells nobody; see cluster.yaml."""
Node = dict[str, float]
"""Resources of a machine: {"CPU": 8, "GPU": 1}."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def local_cpus() -> int:
    """Logical CPUs of a Ray of this machine's own: at least 4, as Ray Data hangs without a word if training
    takes every one."""
    return max(4, cores())


def fit(nodes: list[Node], cpus: float, gpus: float, data_cpus: float) -> int:
    """How many workers can be placed, with `data_cpus` left over somewhere."""

    def on(node: Node) -> int:
        places = [node.get("CPU", 0) / cpus] + ([node.get("GPU", 0) / gpus] if gpus else [])
        return math.floor(min(places) + 1e-6)

    left = sum(node.get("CPU", 0) for node in nodes) - data_cpus
    return max(0, min(sum(map(on, nodes)), math.floor(left / cpus + 1e-6)))


def require_fit(
    nodes: list[Node], workers: int, cpus: float, gpus: float, data_cpus: float, option: str = "scale.workers"
) -> None:
    """ClusterError if `workers` cannot all be placed while `data_cpus` stay free for reading data. option: what
    the message tells the user to lower."""
    placed = fit(nodes, cpus, gpus, data_cpus)
    if placed >= workers:
        return
    there = f"{sum(node.get('CPU', 0) for node in nodes):g} CPU, of which {data_cpus:g} for reading data"
    each = f"{cpus:g} CPU"
    if gpus:
        there += f", and {sum(node.get('GPU', 0) for node in nodes):g} GPU"
        each += f" and {gpus:g} GPU"
    advice = f"lower {option} to {placed}" if placed else "ask for less per worker or use a larger machine"
    raise ClusterError(f"{workers} workers of {each} do not fit: Ray has {there}; {placed} fit, so {advice}")


def require_fit_here(workers: int, cpus: float, data_cpus: float) -> None:
    """The same of the Ray that a command starts on this machine; nothing where it will join another one."""
    if "RAY_ADDRESS" not in os.environ and GROWS_TO not in os.environ:
        require_fit([{"CPU": local_cpus()}], workers, cpus, 0, data_cpus)


SWEEP = "sweep"
"""A resource of the head that a population's trials share, so that no more of them run at once than fit."""


def task_cpus() -> float:
    """Logical CPUs that a task with work for a whole core asks for: on a small machine Ray has more logical
    CPUs than there are cores (see `connect`)."""
    nodes = _nodes()
    return max(1.0, nodes[0]["CPU"] / cores()) if len(nodes) == 1 and nodes[0].get("CPU") else 1.0


def worker_cpus(workers: int, gpus_per_worker: float = 0, data_cpus: float = 1) -> float:
    """CPUs for each of `workers` training workers, such that reading keeps `data_cpus`. As many whole ones as
    can be placed, on one machine never more than there are cores; 0.5 where one each is too much. Ray Train
    gives a worker as many threads."""
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
    """How many trainings, `most` at most, fit at the same time, and the CPUs of each of their workers. Each
    needs `workers` workers and `data_cpus` for reading. cpus: of a worker; None: as many whole ones as leave
    the number of trainings as it is, on one machine never more than it has cores."""
    nodes = _nodes()
    held = cores() if len(nodes) == 1 else int(sum(node.get("CPU", 0) for node in nodes))
    for trainings in range(most, 0, -1):
        share = held // (trainings * workers)
        for each in [cpus] if cpus else range(share, 0, -1) if share else [0.5] * (trainings == 1):
            if fit(nodes, each, gpus_per_worker, trainings * data_cpus) >= trainings * workers:
                return trainings, float(each)
    return 0, cpus or 1.0


def require(
    workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float = 0,
    data_cpus: float = 1,
    option: str = "scale.workers",
) -> None:
    """Raise ClusterError if `workers` cannot all be placed while `data_cpus` stay free for reading data.
    Without this check Ray waits for the missing resources forever. A cluster that grows by itself is judged by
    what it may grow to. option: what the message tells the user to lower."""
    require_fit(_nodes(), workers, cpus_per_worker, gpus_per_worker, data_cpus, option)


def places(cpus: float, gpus: float = 0, data_cpus: float = 1) -> int:
    """How many workers of these CPUs and GPUs have a place while `data_cpus` stay free for reading."""
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
