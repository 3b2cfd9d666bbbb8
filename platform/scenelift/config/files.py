"""Configs as files: the config.yaml of a run, which `--config` replays."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml

from scenelift.config.build import from_dict, to_dict
from scenelift.errors import ConfigError
from scenelift.io import schema

T = TypeVar("T")
VERSION = 1
MIGRATIONS: schema.Migrations = {}


def dump(config: Any) -> str:
    """The config as YAML, word for word what `--config` replays."""
    return yaml.safe_dump(schema.stamp(to_dict(config), VERSION), sort_keys=False)


def load(cls: type[T], path: str | Path) -> T:
    """Read a config that `dump` wrote; ConfigError if the file is missing or does not fit `cls`."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}; every run keeps its own as config.yaml") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    return from_dict(cls, schema.accept(values, path, VERSION, MIGRATIONS, ConfigError))
