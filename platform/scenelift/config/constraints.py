"""Constraints of settings, in the annotations of their fields: `lr: PositiveFloat = 0.1`. `Settings` checks
them, and `config.build` when it converts a value, with the whole key in the message."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import reprlib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from scenelift.errors import ConfigError

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveFraction = Annotated[float, Gt(0), Le(1)]

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 80  # characters
_SHOWN.maxlevel = 3

_BOUNDS = {
    Gt: (operator.gt, "more than"),
    Ge: (operator.ge, "at least"),
    Lt: (operator.lt, "less than"),
    Le: (operator.le, "at most"),
}


@dataclass(frozen=True)
class Exists:
    """A local path must exist before a command begins; URIs are not checked."""

    otherwise: str = "check the path"
    """Advice if it does not exist."""

    def check(self, path: str | Path, key: str) -> None:
        """ConfigError if the path is local and not there."""
        try:
            there = "://" in str(path) or Path(path).expanduser().exists()
        except (OSError, RuntimeError):  # a name that is too long, a home that is unknown
            there = False
        if not there:
            raise ConfigError(f"{key}: there is no {path}; {self.otherwise}")


@dataclass(frozen=True)
class FolderName:
    """One plain component of a path, so that what is joined to a folder cannot lead out of it."""

    reserved: tuple[str, ...] = ()
    """Names, in lower case, of what else lies in the folder."""
    longest: ClassVar[int] = 200
    """Bytes; file systems take 255, and a database of MLflow 250 characters."""

    def check(self, name: str, key: str) -> None:
        """ConfigError for any other name."""
        if wrong := self._wrong(name):
            raise ConfigError(
                f"{key} is one plain name of a folder, such as distill-2; {shown(name)} {wrong}"
            )

    def _wrong(self, name: str) -> str:
        if not name or name != name.strip() or not name.isprintable():
            return "is empty, begins or ends with a blank, or has characters that cannot be printed"
        if name.startswith(".") or not {*"/\\?#%"}.isdisjoint(name):
            return "begins with a dot or has one of / \\ ? # %"
        if len(name.encode()) > self.longest:
            return f"has more than {self.longest} bytes"
        if any(name.casefold() in (taken, f"{taken}.lock") for taken in self.reserved):
            return "is kept for something else"
        return ""


def shown(value: object) -> str:
    """A value as a message repeats it: cut to a sensible length, whatever a user's file held."""
    return _SHOWN.repr(value)


class Settings:
    """Base of all settings, which are frozen dataclasses. A subclass's `__post_init__` calls this one first."""

    NAMED: ClassVar[dict[str, Any]] = {}
    """Instances that a command takes by name, as in `--student.network spvcnn`."""

    def __post_init__(self) -> None:
        for name, hint in hints(type(self)).items():
            check(getattr(self, name), hint, name)

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """The settings that options by key apply to: others than these where they name earlier work to go on with.
        chosen: the preset or file that these settings are, if one was named."""
        return self

    @property
    def goes_on(self) -> bool:
        """Whether earlier work is gone on with, whose settings these are, and no preset's."""
        return False

    def check_here(self, prefix: str = "") -> None:
        """Raises a SceneliftError for what cannot work on this machine; prefix: of fields, such as "data."."""
        for name, hint in hints(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, Settings):
                value.check_here(f"{prefix}{name}.")
            for item, _, rules in _scalars(value, hint):
                for rule in rules:
                    if isinstance(rule, Exists):
                        rule.check(item, prefix + name)

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        """Raises a SceneliftError if the data given is not what a command's preset is made for. preset: None where
        the first was taken, as none was named; program, options: the command line without the preset."""


def hints(cls: type) -> dict[str, Any]:
    """Field -> its type with its constraints, in field order."""
    return _hints(cls)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    types_of = get_type_hints(cls, include_extras=True)
    return {field.name: types_of[field.name] for field in dataclasses.fields(cls)}


def check(value: Any, hint: Any, key: str) -> None:
    """ConfigError, naming the key, for what the type's constraints do not allow, and for nan and infinity."""
    for item, kind, rules in _scalars(value, hint):
        if isinstance(item, float) and not math.isfinite(item):
            raise ConfigError(f"{key} must be a finite number, not {item}")
        bounds = [rule for rule in rules if type(rule) in _BOUNDS]
        if not all(_BOUNDS[type(rule)][0](item, _limit(rule)) for rule in bounds):
            raise ConfigError(f"{key} must be {described(bounds)}, not {shown(item)}")
        if get_origin(kind) is Literal and item not in get_args(kind):
            raise ConfigError(f"{key}: {shown(item)} is not one of {', '.join(map(str, get_args(kind)))}")
        for rule in rules:
            if isinstance(rule, FolderName):
                rule.check(str(item), key)


def bounds_of(hint: Any) -> tuple[Any, ...]:
    """The bounds that a type's annotations set: of its elements, if it is a tuple."""
    if get_origin(hint) is Annotated:
        return tuple(rule for rule in get_args(hint)[1:] if type(rule) in _BOUNDS)
    return next(filter(None, map(bounds_of, get_args(hint))), ()) if get_origin(hint) is not Literal else ()


def described(bounds: Any) -> str:
    """Bounds in words: at least 0 and at most 1."""
    return " and ".join(f"{_BOUNDS[type(rule)][1]} {_limit(rule):g}" for rule in bounds)


def _limit(rule: Any) -> float:
    return float(dataclasses.astuple(rule)[0])


def _scalars(
    value: Any, hint: Any, rules: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    """Each single value inside of `value`, with its type and the type's constraints."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        yield from _scalars(value, args[0], args[1:])
    elif origin in (Union, types.UnionType):
        for arm in [arm for arm in args if _is(value, arm)][:1]:
            yield from _scalars(value, arm)
    elif origin is tuple and isinstance(value, tuple):
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        for item, kind in zip(value, kinds, strict=False):
            yield from _scalars(item, kind)
    else:
        yield value, hint, rules


def _is(value: Any, hint: Any) -> bool:
    """Whether the value is of this arm of a union; any number is checked against the bounds of numbers."""
    if get_origin(hint) is Annotated:
        return _is(value, get_args(hint)[0])
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    return isinstance(value, (int, float) if hint in (int, float) else get_origin(hint) or hint)
