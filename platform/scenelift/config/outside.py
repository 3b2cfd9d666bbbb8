"""Classes from outside of the library: data sets, teachers and engines that nobody has to edit the repository for.

A name is `FILE.py:CLASS`, `MODULE:CLASS`, or the name of an entry point that an installed package has in one of
`GROUPS`. A file is imported as the module of its stem, from its own folder, so that what it defines can be pickled
and its neighbours can be imported; the folder is added to PYTHONPATH, which workers of Ray are given.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any, Literal

from scenelift.config.build import nearest
from scenelift.errors import ConfigError, SceneliftError, reason

Group = Literal["scenelift.sources", "scenelift.teachers", "scenelift.engines"]
"""Of entry points."""


def is_outside(name: str, group: Group) -> bool:
    """Whether a name means something outside of the library: it has a colon, or is that of an entry point."""
    return ":" in name or name in _entries(group)


def known(group: Group, own: Iterable[str]) -> list[str]:
    """The names of the library and those of installed packages."""
    return [*own, *_entries(group)]


def require_there(name: str, group: Group, option: str) -> None:
    """ConfigError, in one line, for a file that is not there or a name that nothing has; imports nothing. The
    file's folder joins Python's path here and, before there is a Ray, in the processes that it will start.

    option: what the name was given as, such as teacher.model.
    """
    where, colon, what = name.rpartition(":")
    if not colon:
        if name not in _entries(group):
            raise ConfigError(f"--{option} {name}: {nearest(name, _entries(group))}; {_write(option)}")
        return
    if not where or not what.isidentifier():
        raise ConfigError(f"--{option} {name} is no file and class; {_write(option)}")
    if where.endswith(".py"):
        _reach(_file(where, option))
    elif not all(part.isidentifier() for part in where.split(".")):
        raise ConfigError(
            f"--{option} {name}: {where} is neither a file NAME.py nor a module; {_write(option)}"
        )


def load(name: str, group: Group, option: str, needs: Iterable[str] = ()) -> Callable[..., Any]:
    """The class, or function, of a name; ConfigError, in one line, for what cannot be imported.

    needs: attributes without which a class is refused here rather than where it is used.
    """
    require_there(name, group, option)
    where, colon, what = name.rpartition(":")
    try:
        if not colon:
            found = _entries(group)[name].load()
        else:
            module = _import_file(_file(where, option)) if where.endswith(".py") else import_module(where)
            if not hasattr(module, what):
                classes = [key for key, value in vars(module).items() if _is_own(value, module)]
                hint = nearest(what, classes) if classes else "it defines no class"
                raise ConfigError(f"--{option} {name}: {where} has no {what}; {hint}")
            found = getattr(module, what)
    except SceneliftError:
        raise
    except (Exception, SystemExit) as error:  # whatever the code of a user raises
        raise ConfigError(
            f"--{option} {name} cannot be imported: {type(error).__name__}: {reason(error)}{_line(error, where)}"
        ) from error
    if not callable(found):
        raise ConfigError(f"--{option} {name} is a {type(found).__name__}; {_write(option)}")
    if isinstance(found, type) and (missing := [each for each in needs if not _has(found, each)]):
        raise ConfigError(
            f"--{option} {name} has no {', '.join(missing)}, which it needs; {_PAGES[group]} shows a whole one"
        )
    return found


_PAGES: dict[str, str] = {
    "scenelift.sources": "docs/your_own_data.md",
    "scenelift.teachers": "docs/your_own_teacher.md",
    "scenelift.engines": "docs/your_own_teacher.md",
}


def _write(option: str) -> str:
    return f"write --{option} FILE.py:CLASS"


def _entries(group: Group) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def _file(where: str, option: str) -> Path:
    """The file as it is named, or one of its name in a folder of Python's path: a worker may be elsewhere."""
    path = Path(where).expanduser()
    for place in (path, *(Path(folder) / path.name for folder in sys.path)):
        if place.is_file():
            return place
    raise ConfigError(f"--{option}: there is no file {where} in {Path.cwd()}; check the path")


def _import_file(path: Path) -> ModuleType:
    name = path.stem
    if not name.isidentifier():
        raise ConfigError(f"{path.name} cannot be imported under such a name; call it {_identifier(name)}.py")
    module = import_module(name)
    if Path(getattr(module, "__file__", None) or "").resolve() != path.resolve():
        raise ConfigError(
            f"{path} has the name of another module, {name} ({getattr(module, '__file__', 'built in')}); call it "
            f"my_{name}.py"
        )
    return module


def _reach(path: Path) -> None:
    """Last in the paths, so that nothing else is shadowed. Also as it is written: what is submitted to a cluster
    is unpacked into another folder, in which its workers start."""
    folder = path.resolve().parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    listed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    written = [] if path.is_absolute() else [str(path.parent)]
    added = [each for each in (str(folder), *written) if each not in listed]
    os.environ["PYTHONPATH"] = os.pathsep.join([*filter(None, listed), *added])


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _is_own(value: Any, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__


def _has(found: type, name: str) -> bool:
    """Also what a dataclass, or an annotated class, gives its instances alone; other attributes may be set by
    `__init__`, and are looked for in the instance."""
    return hasattr(found, name) or any(
        name in vars(base).get("__annotations__", {}) for base in found.__mro__
    )


def _line(error: BaseException, where: str) -> str:
    """The place in the file of the user that raised it."""
    name = Path(where).name
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename).name == name]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return f" ({name}, line {line})" if line else ""
