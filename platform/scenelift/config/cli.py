"""The command line of a config: `[PRESET

--config FILE] [--group.field VALUE ...]`. `--help` and parsing use one table of options, from the dataclasses and
their field docstrings. The work of a command is imported later, so that mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import itertools
import shlex
import sys
import types
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

from scenelift.config.build import difference, flatten, nearest, override
from scenelift.config.constraints import Settings, bounds_of, described, hints, shown
from scenelift.config.files import load
from scenelift.errors import ConfigError, SceneliftError
from scenelift.io.interrupts import raise_interrupts, status
from scenelift.io.secrets import public

T = TypeVar("T", bound=Settings)
_NAMES = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", bool: "{true,false}", types.NoneType: "none"}


def command(prog: str, presets: Mapping[str, Any], module: str = "") -> None:
    """`python -m PROG`: parse, check, then import and run `run(config)` of PROG or its `module`."""
    with exiting():
        start(f"python -m {prog}", presets, f"{prog}.{module}" if module else prog, sys.argv[1:])


def start(program: str, presets: Mapping[str, Any], module: str, argv: Sequence[str]) -> None:
    """Parse, check, then import the module and run its `run(config)`. SceneliftError for a user's mistake."""
    config = parse(presets, argv, program)
    config.check_here()
    check_preset(config, presets, argv, program)
    import_module(module).run(config)


@contextmanager
def exiting() -> Iterator[None]:
    """Ends the process after a user's mistake, with one line and status 1, or an interruption, with 130 or 143."""
    raise_interrupts()
    try:
        yield
    except SceneliftError as error:
        print(public(f"error: {error}"), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as error:
        print(public(str(error)) or "interrupted", file=sys.stderr)
        sys.exit(status(error))


def parse(presets: Mapping[str, T], argv: Sequence[str], prog: str) -> T:
    """Read `[PRESET

    --config FILE] [--group.field VALUE ...]`; the first preset is the default. A tuple takes several values
    (`--student.planes 16 24 32`). Prints help and exits on `--help`.
    """
    args = [_word(arg) for arg in argv]
    name = named(argv)
    del args[: name is not None]
    if name is not None and name not in presets:
        raise ConfigError(f"unknown preset {name:.80}; {_place(name, presets) or nearest(name, presets)}")
    preset = presets[name or next(iter(presets))]
    doc = inspect.getdoc(type(preset)) or ""
    if doc.startswith(f"{type(preset).__name__}("):  # written by dataclass
        doc = ""
    about = f"{doc}\n\nPresets: {', '.join(presets)} (shown: {name or next(iter(presets))})."
    parser = _parser(preset, f"{prog} [{' | '.join(presets)} | --config FILE]", about)
    parser.add_argument("--config", metavar="FILE", help="Replay the config.yaml of an earlier run.")
    values = _values(parser, args, {"config", *flatten(preset)})
    file = values.pop("config", None)
    if file is not None and name is not None:
        raise ConfigError(f"give the preset {name} or --config {file}: a replayed config has no preset")
    config = preset if file is None else load(type(preset), file)
    chosen = f"the preset {name}" if name is not None else None if file is None else f"--config {file}"
    return override(config.continued(values, chosen), values)


def _place(word: str, presets: Mapping[str, Any]) -> str:
    """Advice for a path where a preset belongs, which is what people type first."""
    if not {"/", "."} & set(word):
        return ""
    keys = flatten(next(iter(presets.values())))
    key = next((key for key in ("data", "data.train", "root", "student") if key in keys), "group.field")
    return f"a file or a folder is given by its option: --{key} {word:.80}"


def show_help(config: Any, prog: str, description: str) -> NoReturn:
    """Print what can be set, with the config's values as defaults, and exit."""
    _parser(config, prog, description).print_help()
    sys.exit(0)


def divide(args: Sequence[str], names: Container[str]) -> tuple[list[str], list[str]]:
    """The options of those names with their values, and everything else: one command line for two configs."""
    chosen: list[str] = []
    rest: list[str] = []
    current = rest
    for arg in args:
        if arg.startswith("--"):
            current = chosen if _key(arg) in names else rest
        current.append(arg)
    return chosen, rest


def given(args: Sequence[str]) -> tuple[str, ...]:
    """The keys that a command line sets."""
    return tuple(_key(arg) for arg in args if arg.startswith("--"))


def named(args: Sequence[str]) -> str | None:
    """The preset that a command line names; None: the first is taken."""
    return args[0] if args and not args[0].startswith("-") else None


def check_preset(config: Settings, presets: Mapping[str, Any], args: Sequence[str], program: str) -> None:
    """`Settings.check_preset` with the preset of a command line; with the first one for a replayed config that is
    nearest to it. Nothing for a run that is gone on with."""
    if config.goes_on:
        return
    preset, first = named(args), next(iter(presets))
    if "config" not in given(args):
        config.check_preset(preset, program, args[preset is not None :])
    elif difference(config, presets)[0] == first:
        config.check_preset(first, program, args)


def _key(arg: str) -> str:
    return arg[2:].partition("=")[0].replace("-", "_")


def _word(arg: str) -> str:
    """A word as argparse reads it: dashes in keys are underscores, and what begins with one dash is a value."""
    if not arg.startswith("--") or arg == "--":
        return " " + arg if arg.startswith("-") and arg != "-h" else arg
    _, equals, value = arg.partition("=")
    return f"--{_key(arg)}{equals}{value}"


def _values(parser: argparse.ArgumentParser, args: Sequence[str], known: Iterable[str]) -> dict[str, Any]:
    try:
        options, rest = parser.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name} needs a value") from None
    if rest and rest[0].startswith("--"):
        raise ConfigError(f"unknown key {_key(rest[0]):.80}; {nearest(_key(rest[0]), known)}")
    if rest:
        raise ConfigError(f"unexpected {shown(rest[0].strip())}; options are written --group.field VALUE")
    return vars(options)


def _parser(config: Settings, prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        usage=f"{prog} [--group.field VALUE ...]".replace("%", "%%"),
        description=description,
        formatter_class=functools.partial(argparse.RawDescriptionHelpFormatter, max_help_position=30),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        exit_on_error=False,
    )
    _add(parser, config, "", None)
    return parser


def _add(parser: argparse.ArgumentParser, config: Settings, prefix: str, about: str | None) -> None:
    group = parser.add_argument_group(prefix.rstrip(".") or "options of its own", about)
    if config.NAMED:
        names = f"{{{','.join(config.NAMED)}}}"
        group.add_argument(f"--{prefix[:-1]}", metavar=names, help="All of these at once.")
    for name, hint in hints(type(config)).items():
        value, about = getattr(config, name), _docs(type(config)).get(name, "")
        if isinstance(value, Settings):
            _add(parser, value, f"{prefix}{name}.", about)
            continue
        limits = [described(bounds)] if (bounds := bounds_of(hint)) else []
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        shown = str(shown).lower() if value is None or isinstance(value, bool) else shown
        group.add_argument(
            f"--{prefix}{name}",
            type=lambda word: word.removeprefix(" "),  # of `_word`
            nargs="+" if _several(hint) else None,
            metavar=_metavar(hint),
            help=f"{about} ({', '.join([*limits, f'default: {shown}'])})".replace("%", "%%").strip(),
        )


def _several(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(map(_several, get_args(hint)))


def _metavar(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"{{{','.join(shlex.quote(str(arg)) for arg in args)}}}"
    if origin in (Union, types.UnionType):
        return "|".join(map(_metavar, args))
    return _metavar(args[0]) if origin in (Annotated, tuple) else _NAMES[hint]


def _docs(cls: type) -> dict[str, str]:
    """Field -> its docstring, those of base classes included."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docs |= _module_docs(base.__module__).get(base.__qualname__, {})
    return docs


@functools.cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """Class -> field -> docstring, of the module's own classes."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError):  # made where there is no file, as in a notebook
        return {}
    return {node.name: _field_docs(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _field_docs(node: ast.ClassDef) -> dict[str, str]:
    docs: dict[str, str] = {}
    for field, after in itertools.pairwise(node.body):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.split())
    return docs
