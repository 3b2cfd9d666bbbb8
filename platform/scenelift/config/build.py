"""Configuration: frozen dataclass trees, presets, replayed files, dotted overrides, and the command line.

One conversion serves all three ways in (command line, `--config FILE`, a sweep's dotted keys), so a mistake
gets the same one-line answer everywhere. `--help` is made by tyro from the field docstrings.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from scenelift.errors import ConfigError, SceneliftError
from scenelift.io import schema

T = TypeVar("T")
Value = Any
VERSION = 1
MIGRATIONS: schema.Migrations = {}


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the nearest known one, or all of them when they are few."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(known)}" if len(known) <= 12 else "see --help"


def to_dict(config: Any) -> Any:
    """The config as plain dicts, lists and scalars, ready for YAML or JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, tuple | list):
        return [to_dict(item) for item in config]
    return str(config) if isinstance(config, Path) else config


def flatten(config: Any) -> dict[str, Value]:
    """Every leaf by its dotted key, in field order: {"loop.epochs": 10, ...}."""

    def walk(node: Any, prefix: str) -> dict[str, Value]:
        leaves: dict[str, Value] = {}
        for field in dataclasses.fields(node):
            value, key = getattr(node, field.name), prefix + field.name
            leaves |= walk(value, key + ".") if dataclasses.is_dataclass(value) else {key: value}
        return leaves

    return walk(config, "")


def from_dict(cls: type[T], values: Any, key: str = "") -> T:
    """Build a config of `cls` from plain values; every unknown key or wrong type is a ConfigError."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{key or 'the configuration'} must be a group of keys, not {values!r}")
    return cast(T, _build(cls, None, values, key))


def override(config: T, values: Mapping[str, Value]) -> T:
    """A copy of `config` with the leaves named by dotted keys replaced: override(c, {"loop.epochs": 3}).

    A group whose class has `NAMED` instances may be given by name, {"student.network": "spvcnn"}; leaves of
    it that are given beside win. Raises ConfigError for an unknown key or name (naming the nearest known one)
    or a value of the wrong type.
    """
    known = flatten(config)
    tree: dict[str, Any] = {}
    for dotted, value in _leaves(config, values).items():
        if dotted not in known:
            raise ConfigError(f"unknown key {dotted}; {nearest(dotted, known)}")
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
        if named is None:
            leaves[dotted] = value
        elif value in named:
            groups |= {f"{dotted}.{key}": leaf for key, leaf in flatten(named[value]).items()}
        else:
            raise ConfigError(f"{dotted}: no {value}; {nearest(str(value), named)}")
    return groups | leaves


def _build(cls: Any, base: Any, values: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            known = [prefix + field for field in fields]
            raise ConfigError(f"unknown key {prefix}{name}; {nearest(prefix + str(name), known)}")
    made: dict[str, Any] = {}
    for name in fields:
        current = getattr(base, name) if base is not None else dataclasses.MISSING
        if name not in values:
            if current is not dataclasses.MISSING:
                made[name] = current
            continue
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            inner = None if current is dataclasses.MISSING else current
            if not isinstance(values[name], Mapping):
                raise ConfigError(f"{prefix}{name} must be a group of keys, not {values[name]!r}")
            made[name] = _build(hint, inner, values[name], f"{prefix}{name}.")
        else:
            made[name] = _convert(values[name], hint, prefix + name)
    try:
        return cls(**made)
    except TypeError as error:
        raise ConfigError(f"{prefix or cls.__name__}: {error}") from error


def _convert(value: Any, hint: Any, key: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
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
            raise ConfigError(f"{key}: {value!r} is not one of {', '.join(map(str, args))}")
        return match
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        inner = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
        if len(inner) != len(items):
            raise ConfigError(f"{key} takes {len(inner)} values, not {len(items)}: {value!r}")
        return tuple(_convert(item, arg, key) for item, arg in zip(items, inner, strict=True))
    return _scalar(value, hint, key)


def _scalar(value: Any, hint: Any, key: str) -> Any:
    if hint is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return str(value).lower() in ("true", "yes", "on", "1")
        raise ConfigError(f"{key}: write true or false, not {value!r}")
    if hint in (int, float) and not isinstance(value, bool) and isinstance(value, int | float | str):
        try:
            return hint(value) if hint is float or not isinstance(value, float) else _whole(value)
        except ValueError:
            raise ConfigError(
                f"{key} takes a{'n int' if hint is int else ' number'}, not {value!r}"
            ) from None
    if hint in (str, Path) and not isinstance(value, list | tuple | Mapping) and value is not None:
        return hint(value)
    raise ConfigError(f"{key} takes {getattr(hint, '__name__', hint)}, not {value!r}")


def _whole(value: float) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def dump(config: Any) -> str:
    """The config as YAML, word for word what `--config` replays."""
    return yaml.safe_dump(schema.stamp(to_dict(config), VERSION), sort_keys=False)


def load(cls: type[T], path: str | Path) -> T:
    """Read a config that `dump` wrote; ConfigError if the file is missing or does not fit `cls`."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"no config file at {path}; every run keeps its own as config.yaml") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    return from_dict(cls, schema.accept(values, path, VERSION, MIGRATIONS, ConfigError))


def parse(cls: type[T], presets: Mapping[str, T], argv: Sequence[str], prog: str) -> T:
    """Read `[PRESET] [--config FILE] [--group.field VALUE ...]`; the first preset is the default.

    A tuple takes several values (`--student.planes 16 24 32`). Prints help and exits on `--help`.
    """
    args = list(argv)
    name = next(iter(presets))
    if args and not args[0].startswith("-"):
        name = args.pop(0)
    if name not in presets:
        raise ConfigError(f"unknown preset {name}; {nearest(name, presets)}")
    if "-h" in args or "--help" in args:
        _help(cls, presets, name, prog)
    values = _options(args)
    files = values.pop("config", None)
    config = presets[name] if files is None else load(cls, files[-1])
    return override(config, {key: item[0] if len(item) == 1 else item for key, item in values.items()})


def divide(args: Sequence[str], names: Container[str]) -> tuple[list[str], list[str]]:
    """The options of those names with their values, and everything else: one command line for two configs."""
    mine: list[str] = []
    rest: list[str] = []
    current = rest
    for arg in args:
        if arg.startswith("--"):
            current = mine if _name(arg)[0] in names else rest
        current.append(arg)
    return mine, rest


def given(args: Sequence[str]) -> tuple[str, ...]:
    """The keys that a command line sets."""
    return tuple(_name(arg)[0] for arg in args if arg.startswith("--"))


def _name(arg: str) -> tuple[str, str, str]:
    """An option's key, "=" if its value follows in the same word, and that value."""
    option, equals, value = arg[2:].partition("=")
    return option.replace("-", "_"), equals, value


def _options(args: Sequence[str]) -> dict[str, list[str]]:
    """["--a.b", "1", "2", "--c=3"] -> {"a.b": ["1", "2"], "c": ["3"]}; dashes in names mean underscores."""
    values: dict[str, list[str]] = {}
    current: list[str] | None = None
    for arg in args:
        if arg.startswith("--"):
            option, equals, value = _name(arg)
            current = values.setdefault(option, [])
            current.clear()
            if equals:
                current.append(value)
        elif current is None:
            raise ConfigError(f"unexpected {arg!r}; options are written --group.field VALUE")
        else:
            current.append(arg)
    for option, given in values.items():
        if not given:
            raise ConfigError(f"--{option} needs a value")
    return values


def _help(cls: type[T], presets: Mapping[str, T], name: str, prog: str) -> None:
    lines = [(cls.__doc__ or "").strip(), "", f"Presets: {', '.join(presets)} (shown: {name})."]
    lines.append("--config FILE replays the config.yaml of an earlier run; options given beside it win.")
    show_help(presets[name], f"{prog} [{'|'.join(presets)}] [--config FILE]", "\n".join(lines))


def show_help(config: Any, prog: str, description: str) -> None:
    """Print what can be set, with the config's values as defaults, and exit."""
    import tyro

    tyro.cli(
        type(config),
        default=config,
        args=["--help"],
        prog=prog,
        description=description,
        config=(tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands),
        use_underscores=True,
    )


def command(run: Callable[[T], Any], cls: type[T], presets: Mapping[str, T], prog: str) -> None:
    """A whole command: parse the command line, run, and turn a user's mistake into one line and status 1."""
    try:
        run(parse(cls, presets, sys.argv[1:], prog))
    except SceneliftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
