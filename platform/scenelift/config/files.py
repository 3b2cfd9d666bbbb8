"""Configs as files, and schema versions of all files that Scenelift reads again. The module of a file has its
VERSION and MIGRATIONS: version -> function that converts values to the next one. Other versions are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import yaml

from scenelift.config.build import from_dict, to_dict
from scenelift.errors import ConfigError, SceneliftError, StorageError
from scenelift.io import storage

T = TypeVar("T")
KEY = "schema_version"
Migrations = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
VERSION = 1
MIGRATIONS: Migrations = {}
_LARGEST = 1 << 20
"""Bytes of such a file; YAML of 20 MB takes longer than anyone waits."""


def dump(config: Any) -> str:
    """The config as YAML, word for word what `--config` replays."""
    return yaml.safe_dump(stamp(to_dict(config), VERSION), sort_keys=False)


def load(cls: type[T], path: storage.Location) -> T:
    """Read a config that `dump` wrote; ConfigError if the file is missing or does not fit `cls`."""
    try:
        data = storage.read(path, _LARGEST)
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}; every run keeps its own as config.yaml") from None
    except StorageError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    values = parse(data, path, ConfigError, "YAML")
    return from_dict(cls, accept(values, path, VERSION, MIGRATIONS, ConfigError))


class _Plain(yaml.SafeLoader):
    """Without references, by which a short file can stand for an endless value."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has references (*name), which our files have not")
        return super().compose_node(parent, index)


def parse(
    data: bytes, where: object, error: type[SceneliftError], form: Literal["JSON", "YAML"] = "JSON"
) -> Any:
    """The plain values in a file of our own; `error`, which names it, for anything else."""
    try:
        text = data.decode("utf-8-sig")
        return json.loads(text) if form == "JSON" else yaml.load(text, _Plain)
    except UnicodeDecodeError:
        raise error(f"{where} is not in UTF-8; save it in that encoding") from None
    except RecursionError:
        raise error(f"{where} is nested too deep") from None
    except Exception as reason:  # yaml's constructors raise what Python's types do
        raise error(f"{where} is not {form}: {' '.join(str(reason).split())[:200]}") from None


def read(
    path: storage.Location,
    fields: Mapping[str, type | tuple[type, ...]],
    version: int,
    migrations: Migrations,
    error: type[SceneliftError],
    advice: str,
    form: Literal["JSON", "YAML"] = "JSON",
) -> dict[str, Any]:
    """The values of a file of our own with these fields, migrated to `version`; `error`, which names the file and
    ends with the advice, if it is damaged. FileNotFoundError if there is none."""
    try:
        text = storage.read(path, _LARGEST)
        values = accept(parse(text, path, error, form), path, version, migrations, error)
        for name, kind in fields.items():
            if not isinstance(values.get(name), kind):
                raise error(f"{path} is damaged: it has no {name}, or something else in its place")
    except error as reason:
        raise error(f"{reason}; {advice}") from None
    return values


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
    """The values of a file, migrated to `version`, without their stamp; `error` if there is no way."""
    plain = dict(values) if isinstance(values, Mapping) else {}
    written = reached = plain.pop(KEY, None)
    while isinstance(reached, int) and reached != version and reached in migrations:
        plain, reached = migrations[reached](plain), reached + 1
    if reached != version:
        version_text = "no schema version" if written is None else f"schema version {written}"
        raise error(
            f"{where} was written by another Scenelift ({version_text}, this one reads {version}); "
            "use the one that wrote it, or make it anew"
        )
    return plain
