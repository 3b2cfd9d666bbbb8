"""Frozen dataclass trees from plain values, back, and compared with presets. One conversion serves the command
line, `--config FILE` and the dotted keys of sweeps, so that a mistake has the same one-line answer everywhere."""

from __future__ import annotations

import dataclasses
import difflib
import json
import textwrap
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from scenelift.config.constraints import check, hints, shown
from scenelift.errors import ConfigError
from scenelift.io.secrets import addresses

T = TypeVar("T")
Value = Any


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the nearest known one, or all of them when they are few."""
    known = sorted(known)
    close = difflib.get_close_matches(word[:_LONGEST], known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(known)}" if len(known) <= 12 else "see --help"


def to_dict(config: Any) -> Any:
    """The config as plain dicts, lists and scalars, to be kept as YAML or JSON: addresses are without secrets."""
    return addresses(json.loads(json.dumps(dataclasses.asdict(config), default=str)))  # paths as text


def flatten(config: Any) -> dict[str, Value]:
    """Every leaf of a config or its `to_dict` by dotted key, in field order: {"loop.epochs": 10, ...}."""
    leaves: dict[str, Value] = {}
    for name, value in (config if isinstance(config, Mapping) else vars(config)).items():
        if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            leaves |= {f"{name}.{key}": leaf for key, leaf in flatten(value).items()}
        else:
            leaves[name] = value
    return leaves


def from_dict(cls: type[T], values: Any, key: str = "") -> T:
    """Build a config of `cls` from plain values; every unknown key or wrong type is a ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{key or 'the configuration'} must be a group of keys, not {shown(values)}")
    return cast(T, _build(cls, None, values, key))


def override(config: T, values: Mapping[str, Value]) -> T:
    """A copy of `config` with new values for leaves: override(c, {"loop.epochs": 3}). A group whose class has
    `NAMED` instances may be given by name, {"student.network": "spvcnn"}; leaves of it that are given too win.
    Raises ConfigError for an unknown key or name (with the nearest one) or a value of the wrong type."""
    known = flatten(config)
    tree: dict[str, Any] = {}
    for dotted, value in _leaves(config, values).items():
        if dotted not in known:
            raise ConfigError(f"unknown key {dotted:.80}; {nearest(dotted, known)}")
        *groups, leaf = dotted.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return cast(T, _build(type(config), config, tree, ""))


def _leaves(config: Any, values: Mapping[str, Value]) -> dict[str, Value]:
    """The values with each named group replaced by all of its leaves."""
    groups: dict[str, Value] = {}
    leaves: dict[str, Value] = {}
    for dotted, value in values.items():
        group = config
        for part in dotted.split("."):
            group = getattr(group, part, None)
        named = getattr(type(group), "NAMED", None)
        if not named:
            leaves[dotted] = value
        elif value in named:
            groups |= {f"{dotted}.{key}": leaf for key, leaf in flatten(named[value]).items()}
        else:
            raise ConfigError(f"{dotted}: no {shown(value)}; {nearest(str(value), named)}")
    return groups | leaves


def _build(cls: Any, base: Any, values: Mapping[str, Any], prefix: str) -> Any:
    fields = hints(cls)
    for name in values:
        if name not in fields:
            known = [prefix + field for field in fields]
            raise ConfigError(f"unknown key {prefix}{name!s:.80}; {nearest(prefix + str(name), known)}")
    built = {} if base is None else {name: getattr(base, name) for name in fields}
    for name, value in values.items():
        hint, key = fields[name], prefix + name
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{key} must be a group of keys, not {shown(value)}")
            built[name] = _build(hint, built.get(name), value, f"{key}.")
        else:
            built[name] = _convert(value, hint, key)
            check(built[name], hint, key)
    try:
        return cls(**built)
    except TypeError as error:
        raise ConfigError(f"{prefix or cls.__name__}: {error}") from error


def _convert(value: Any, hint: Any, key: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _convert(value, args[0], key)
    if origin in (Union, types.UnionType):
        if type(None) in args and (value is None or str(value).lower() in ("none", "null")):
            return None
        rest = [arg for arg in args if arg is not type(None)]
        for arg in rest[:-1]:
            try:
                return _convert(value, arg, key)
            except ConfigError:
                continue
        return _convert(value, rest[-1], key)
    if origin is Literal:
        match = next((arg for arg in args if str(arg) == str(value)), None)
        if match is None:
            raise ConfigError(f"{key}: {shown(value)} is not one of {', '.join(map(str, args))}")
        return match
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        inner = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
        if len(inner) != len(items):
            raise ConfigError(f"{key} takes {len(inner)} values, not {len(items)}: {shown(value)}")
        return tuple(_convert(item, arg, key) for item, arg in zip(items, inner, strict=True))
    return _scalar(value, hint, key)


def _scalar(value: Any, hint: Any, key: str) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return str(value).lower() in ("true", "yes", "on", "1")
        raise ConfigError(f"{key}: write true or false, not {shown(value)}")
    if hint in (int, float) and not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            if hint is float or not isinstance(value, float) or value.is_integer():
                return hint(value)
        except (ValueError, OverflowError):
            pass
        raise ConfigError(f"{key} takes a{'n int' if hint is int else ' number'}, not {shown(value)}")
    if hint in (str, Path) and not isinstance(value, list | tuple | Mapping) and value is not None:
        return _path(value, key) if hint is Path else str(value)
    raise ConfigError(f"{key} takes {getattr(hint, '__name__', hint)}, not {shown(value)}")


def _path(value: Any, key: str) -> Path:
    """A path with `~` replaced: shells leave it in `--key=~/file`, and files always do."""
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{key}: {error} ({shown(value)}); write the whole path") from None


_PLACES = ("scale.", "data.train", "data.test")
"""Prefixes of keys of places and resources; the data set is a tag."""
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
"""Keys, or prefixes of keys, that do not change the experiment."""


def experiment_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a flattened config that define the experiment: no seed, bookkeeping or places."""
    return {key: value for key, value in config.items() if not key.startswith(_BOOKKEEPING)}


def difference(config: Any, presets: Mapping[str, Any]) -> tuple[str, dict[str, Value]]:
    """The first preset that the fewest options turn into the config, and these options; a named group is one
    option."""
    options = {name: _options(preset, config) for name, preset in presets.items()}
    name = min(options, key=lambda each: len(options[each]))
    return name, options[name]


def settings(config: Mapping[str, Value]) -> dict[str, Value]:
    """A flattened config without the seed and without where and how it is run."""
    return {key: value for key, value in experiment_identity(config).items() if not key.startswith(_PLACES)}


def written(options: Mapping[str, Value]) -> str:
    """Options in one line: loop.epochs=6 student.network=spvcnn augmentation.image.size=224,416."""
    return " ".join(f"{key}={_text(value)}" for key, value in options.items())


def title(name: str, preset: str, changed: str) -> str:
    """The MLflow name of a run without one, differences first: nuscenes loop.epochs=6
    (distill-20261120-151218)."""
    text = textwrap.shorten(f"{preset} {changed}", _LONGEST - len(f" ({name})"), placeholder=" ...")
    return f"{text} ({name})"


def _options(preset: Any, config: Any) -> dict[str, Value]:
    before, after = flatten(preset), flatten(config)
    shown = settings(after).keys() | {"loop.seed"}
    changed = {k: v for k, v in after.items() if k in shown and (k not in before or v != before[k])}
    for group, name in _named_groups(config).items():
        leaves = [key for key in changed if key.startswith(f"{group}.")]
        if leaves:
            changed[group] = name
        changed = {key: value for key, value in changed.items() if key not in leaves}
    return changed


def _named_groups(config: Any, prefix: str = "") -> dict[str, str]:
    """The groups that are one of their class's `NAMED`, by dotted key: {"student.network": "spvcnn"}."""
    groups: dict[str, str] = {}
    for field in dataclasses.fields(config):
        group, key = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(group):
            named: Mapping[str, Any] = getattr(type(group), "NAMED", {})
            name = next((name for name, each in named.items() if each == group), None)
            groups |= _named_groups(group, f"{key}.") if name is None else {key: name}
    return groups


def _text(value: Value) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
