"""Beginning of every training: its shards, its start on the platform, and the names that tables use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scenelift.config.build import flatten
from scenelift.errors import ConfigError
from scenelift.nn.config import NETWORKS, StudentConfig
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
        raise ConfigError(
            "data.test is given without data.train; name both, or neither for synthetic data. A trained student "
            "is scored by python -m trainables.evaluate --student runs/NAME/student --data.test"
        )
    return synthetic("train"), synthetic(test)


def start(task: type[Task[Any]], config: Any) -> None:
    """Make the task, which checks the data, and only then import what a run needs."""
    if config.run.resume:
        from scenelift.runs.experiment import finished

        if finished(config):
            return
    accepted = task(config)
    from scenelift.runs.run import run

    run(accepted)


def student_name(config: Mapping[str, Any]) -> str:
    """Name of a student in tables: its network and its voxels, such as spvcnn, 0.1 m, or spvcnn, 0.1 m cylindrical.

    config: a flattened `StudentConfig`, values as they are or as text.
    """
    prefix = "network."
    network = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    if (name := network_name(network)) == CUSTOM:
        name = f"U-Net {network.get('stem')} {network.get('encoder')} {network.get('decoder')}"
    grid = str(config.get("voxels.grid", "cartesian")).removeprefix("cartesian")
    return f"{name}, {config.get('voxels.size')} m {grid}".strip()


def network_name(network: Mapping[str, Any]) -> str:
    """The name of a network in `NETWORKS`, whatever its engine and its norms' momentum, or `CUSTOM`.

    network: a flattened `NetworkConfig`, values as they are or as text; what it lacks does not count.
    """
    own = {key: str(value) for key, value in network.items() if key not in ("engine", "momentum")}
    for name, known in NETWORKS.items():
        leaves = flatten(known)
        if all(str(leaves[key]) == value for key, value in own.items()):
            return name
    return CUSTOM


def student_options(student: StudentConfig) -> list[str]:
    """The command line's options for a student: its network, by name if it has one, and its voxels."""
    leaves, name = flatten(student), network_name(flatten(student.network))
    if name != CUSTOM:
        leaves = {"network": name} | {
            key: value for key, value in leaves.items() if not key.startswith("network.")
        }
    words: list[str] = []
    for key, value in leaves.items():
        words += [f"--student.{key}", *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def start_tags(origin: Origin) -> dict[str, str]:
    """Tags of a run that starts from a saved student, by which tables distinguish such runs."""
    clip = str((origin.config or {}).get("teacher.model", "none"))
    teacher = origin.tag("teacher", origin.tag("images", clip))
    tags = {"start": origin.method, "start_version": origin.version, "teacher": teacher}
    return tags | ({"start_run": origin.run_id} if origin.run_id else {})
