"""What a run changes of its command's presets: what it is called, and what it is found by."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

from scenelift.config.build import Value, flatten

_SEED = "loop.seed"
_PLACES = ("scale.", "data.train", "data.test")
"""Beginnings of keys that say where a run is and what it has at hand; its data set is a tag."""
_LONGEST = 250
"""Characters of a run's name that every database of MLflow keeps."""


_BOOKKEEPING = (
    "run.",
    "tracking.",
    "loop.seed",
    "loop.checkpoint_every",
    "loop.keep",
    "loop.log_every",
    "loop.preflight_steps",
    "loop.watch.gradient_norm",
    "loop.watch.profile",
    "scale.cpus",
    "scale.gpus",
    "scale.retries",
)
"""Keys, or beginnings of keys, of a config that do not make another experiment of it."""


def experiment_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """A flattened config without the seed, bookkeeping and places: what makes it this experiment."""
    return {key: value for key, value in config.items() if not key.startswith(_BOOKKEEPING)}


def difference(config: Any, presets: Mapping[str, Any]) -> tuple[str, dict[str, Value]]:
    """The preset that the fewest options turn into the config, and these options by their dotted keys.

    Of several such presets the first. A group that has a name, such as a network's, counts as one option.
    """
    options = {name: _options(preset, config) for name, preset in presets.items()}
    name = min(options, key=lambda each: len(options[each]))
    return name, options[name]


def settings(config: Mapping[str, Value]) -> dict[str, Value]:
    """A flattened config without the seed and without what says where and how it is run."""
    return {key: value for key, value in experiment_identity(config).items() if not key.startswith(_PLACES)}


def written(options: Mapping[str, Value]) -> str:
    """Options in one line: loop.epochs=6 student.network=spvcnn augmentation.image.size=224,416."""
    return " ".join(f"{key}={_text(value)}" for key, value in options.items())


def title(name: str, preset: str, changed: str) -> str:
    """What MLflow calls a run that was given no name: nuscenes loop.epochs=6 (distill-20261120-151218).

    What differs comes first because MLflow shows the first letters of a name in most places.
    """
    said = textwrap.shorten(f"{preset} {changed}", _LONGEST - len(f" ({name})"), placeholder=" ...")
    return f"{said} ({name})"


def _options(preset: Any, config: Any) -> dict[str, Value]:
    before, after = flatten(preset), flatten(config)
    told = settings(after).keys() | {_SEED}
    changed = {
        key: value
        for key, value in after.items()
        if key in told and (key not in before or value != before[key])
    }
    for group, name in _named_groups(config).items():
        leaves = [key for key in changed if key.startswith(f"{group}.")]
        if leaves:
            changed[group] = name
        for key in leaves:
            del changed[key]
    return changed


def _named_groups(config: Any, prefix: str = "") -> dict[str, str]:
    """The groups that are one of their class's `NAMED`, by dotted key: {"student.network": "spvcnn"}."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(config):
        group, key = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(group):
            named: Mapping[str, Any] = getattr(type(group), "NAMED", {})
            name = next((name for name, each in named.items() if each == group), None)
            found |= _named_groups(group, f"{key}.") if name is None else {key: name}
    return found


def _text(value: Value) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
