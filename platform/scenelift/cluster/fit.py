"""How many workers fit on machines, from their CPUs and GPUs alone: asked before there is a Ray, and by it."""

from __future__ import annotations

import math
import os

from scenelift.errors import ClusterError

GROWS_TO = "SCENELIFT_GROWS_TO"
"""Variable that says which machines a cluster that grows by itself may have beside its head, as JSON:
[{"CPU": 8, "GPU": 1, "machines": 4}, ...]. Ray's autoscaler knows it and tells nobody; see cluster.yaml."""
Node = dict[str, float]
"""Resources of a machine: {"CPU": 8, "GPU": 1}."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def local_cpus() -> int:
    """Logical CPUs of a Ray of this machine's own: at least 4, as Ray Data hangs without a word if training takes
    every one."""
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
    """ClusterError if `workers` cannot all be placed while `data_cpus` stay free for reading data.

    option: what the message tells the user to lower.
    """
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
