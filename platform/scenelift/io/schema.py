"""Schema versions of the files that Scenelift writes and reads again.

The module of a file keeps its VERSION and its MIGRATIONS: the function that takes the plain values of an older
version to the next one. To change what a file holds, raise the version and add the migration, or leave it out
where older files cannot be read: they are then refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scenelift.errors import SceneliftError

KEY = "schema_version"
Migrations = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]


def stamp(values: Mapping[str, Any], version: int) -> dict[str, Any]:
    """The values to write, led by their schema version."""
    assert KEY not in values, f"{KEY} is ours"
    return {KEY: version, **values}


def accept(
    values: Any,
    where: object,
    version: int,
    migrations: Migrations,
    error: type[SceneliftError] = SceneliftError,
) -> dict[str, Any]:
    """The values of a file as `version` has them, without their stamp; where: the file, for the message.

    Raises `error` for a file of a version that no migration leads from, or of none.
    """
    plain = dict(values) if isinstance(values, Mapping) else {}
    written = reached = plain.pop(KEY, None)
    while isinstance(reached, int) and reached != version and reached in migrations:
        plain, reached = migrations[reached](plain), reached + 1
    if reached != version:
        found = "no schema version" if written is None else f"schema version {written}"
        raise error(
            f"{where} was written by another Scenelift ({found}, this one reads {version}); "
            "use the one that wrote it, or make it anew"
        )
    return plain
