"""Names of students and networks in tables, and the tags of the student that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scenelift.config.build import flatten
from scenelift.nn.config import NETWORKS

if TYPE_CHECKING:
    from scenelift.runs.lineage import Origin

CUSTOM = "custom"
"""A network that is not one of `NETWORKS`."""


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
