"""Configs as files, and schema versions of all files that Scenelift reads again. The module of a file has its
VERSION and MIGRATIONS: version -> function that converts values to the next one. Other versions are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from scenelift.config.build import from_dict, to_dict
from scenelift.errors import ConfigError, SceneliftError, first_line

T = TypeVar("T")
KEY = "schema_version"
Migrations = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]
VERSION = 1
MIGRATIONS: Migrations = {}


def dump(config: Any) -> str:
    """The config as YAML, word for word what `--config` replays."""
    return yaml.safe_dump(stamp(to_dict(config), VERSION), sort_keys=False)


def load(cls: type[T], path: str | Path) -> T:
    """Read a config that `dump` wrote; ConfigError if the file is missing or does not fit `cls`."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}; every run keeps its own as config.yaml") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {first_line(error)}") from None
    return from_dict(cls, accept(values, path, VERSION, MIGRATIONS, ConfigError))


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
