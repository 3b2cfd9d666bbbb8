"""Beginning of every training: its shards, its start on the platform, and the names that tables use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scenelift.config.build import flatten
from scenelift.errors import ConfigError
from scenelift.nn.config import NETWORKS
from scenelift.runs.config import DataConfig

if TYPE_CHECKING:
    from scenelift.runs.history import Origin
    from scenelift.runs.task import Task


CUSTOM = "custom"
"""A network that is not one of `NETWORKS`."""


def shard_folders(
    data: DataConfig, synthetic: Callable[[str], str], test: str = "val"
) -> tuple[str, str | None]:
    """Folders of the training and the test shards; None: nothing is scored.

    synthetic: makes the synthetic shards of a split and returns their folder; test: its split to score on.
    Raises ConfigError for test shards alone.
    """
    if data.train is not None:
        return data.train, data.test
    if data.test is not None:
        raise ConfigError("data.test is given without data.train; name both, or neither for synthetic data")
    return synthetic("train"), synthetic(test)


def start(task: type[Task[Any]], config: Any) -> None:
    """Make the task, which checks the data, and only then import what a run needs."""
    if config.run.resume:
        from scenelift.runs.run import finished

        if finished(config):
            return
    accepted = task(config)
    from scenelift.runs.run import run

    run(accepted)


def student_name(config: Mapping[str, Any]) -> str:
    """Name of a student in tables: its network and its voxels, such as spvcnn, 0.1 m.

    config: a flattened `StudentConfig`, values as they are or as text.
    """
    prefix = "network."
    network = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    if (name := network_name(network)) == CUSTOM:
        name = f"U-Net {network.get('stem')} {network.get('encoder')} {network.get('decoder')}"
    return f"{name}, {config.get('voxels.size')} m"


def network_name(network: Mapping[str, Any]) -> str:
    """The name of a network in `NETWORKS`, whatever its engine, or `CUSTOM`.

    network: a flattened `NetworkConfig`, values as they are or as text; what it lacks does not count.
    """
    own = {key: str(value) for key, value in network.items() if key != "engine"}
    for name, known in NETWORKS.items():
        leaves = flatten(known)
        if all(str(leaves[key]) == value for key, value in own.items()):
            return name
    return CUSTOM


def start_tags(origin: Origin) -> dict[str, str]:
    """Tags of a run that starts from a saved student, by which tables distinguish such runs."""
    clip = str((origin.config or {}).get("teacher.model", "none"))
    teacher = origin.tag("teacher", origin.tag("images", clip))
    tags = {"start": origin.method, "start_version": origin.version, "teacher": teacher}
    return tags | ({"start_run": origin.run_id} if origin.run_id else {})
