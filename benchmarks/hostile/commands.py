"""Odd options of every command, and odd files given to them: values, names, encodings, what is no file."""

from __future__ import annotations

import contextlib
import math
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.hostile.subjects import Read
from scenelift.config import files
from scenelift.config.build import flatten
from scenelift.config.cli import parse
from scenelift.nn.student import Student
from scenelift.runs.folder import Run
from scenelift.shards.read import Shards

MODULES = (
    *("datasets.shard", "datasets.shard_captions", "datasets.shard_rooms"),
    *("trainables.distill", "trainables.evaluate", "trainables.finetune", "trainables.ground"),
    *("trainables.phrases", "trainables.pretrain", "trainables.table", "trainables.teacher"),
)
PLACES = ("root", "data", "data.train", "data.test", "student", "start", "regions", "classes", "sentences")
"""Options that name files and folders."""


@dataclass(frozen=True)
class Command:
    """One command line."""

    module: str
    way: str
    argv: tuple[str, ...]
    names: tuple[str, ...]
    """Of which a clear line has one."""
    refuse: bool = False
    """Whether no run can want this."""


NUMBERS = {
    "nan": "nan",
    "infinite": "inf",
    "minus infinite": "-inf",
    "beyond": "1e400",
    "digits": "9" * 5000,
    "minus": "-1",
    "another one": "١",
    "hexadecimal": "0x10",
    "a sum": "1+1",
}
TEXTS = {
    "empty": "",
    "blank": " ",
    "two lines": "a\nb",
    "a zero byte": "a\0b",
    "long": "x" * 5000,
    "a bracket": "[1",
    "a list": "1,2,3",
    "a tag": "!!python/object/apply:os.getcwd []",
    "half a character": "\udce9",
    "smiling": "😀",
    "an escape": "\x1b[31mred",
}
NAMES = {
    "up": "../../x",
    "two up": "..",
    "here": ".",
    "absolute": "/tmp/hostile-run",
    "nested": "a/b",
    "empty": "",
    "two lines": "a\nb",
    "a zero byte": "a\0b",
    "long": "n" * 300,
    "an option": "--run.resume",
    "mlflow's": "mlflow.db",
    "half a character": "\udce9",
    "home": "~",
}
"""Names of a run."""
BAD_NUMBERS = ("nan", "infinite", "minus infinite", "beyond", "hexadecimal", "a sum")
REQUIRED = {
    "datasets.shard": ("root",),
    "datasets.shard_captions": ("root", "regions", "classes"),
    "datasets.shard_rooms": ("root",),
    "trainables.teacher": ("root",),
}
"""Options without which a command does nothing."""


@cache
def presets(module: str) -> Mapping[str, Any]:
    """The presets of a command."""
    found: Mapping[str, Any] = import_module(f"{module}.config").PRESETS
    return found


def commands() -> list[Command]:
    """Every command line; which option gets which value comes from a seed."""
    made = [*_options(), *_places(), *_configs()]
    for way, name in NAMES.items():
        argv = ("--run.name", name)
        made.append(Command("trainables.distill", f"name {way}", argv, ("run.name", "name", "run")))
    return made


def _options() -> list[Command]:
    """Each option of each command with one odd value of its kind, and some words that are no options."""
    made, rng = [], random.Random(0)
    for module in MODULES:
        preset = next(iter(presets(module).values()))
        for key, value in flatten(preset).items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            odd = NUMBERS if number else TEXTS
            way = rng.choice(list(odd))
            refuse = number and way in BAD_NUMBERS
            argv = (*_required(module, key), f"--{key}={odd[way]}")
            names = (key, key.replace("_", " "), f"{key.rpartition('.')[0]}.", odd[way] or key)
            made.append(Command(module, f"{key} {way}", argv, names, refuse))
        for way, words in {
            "no such option": ("--no.such", "1"),
            "no value": ("--loop.epochs",),
            "no preset": ("nowhere",),
            "a word": ("--tracking.uri", "x", "y"),
            "dashes": ("---",),
            "an empty word": ("",),
            "a letter": ("-x", "1"),
        }.items():
            made.append(
                Command(module, way, words, (words[0].strip("-"), words[-1], "preset", "key", "'"), True)
            )
    return made


def _required(module: str, key: str = "") -> tuple[str, ...]:
    """What a command needs beside an option: an empty folder."""
    return tuple(f"--{name}=an-empty-folder" for name in REQUIRED.get(module, ()) if name != key)


def _places() -> list[Command]:
    """Files, folders and pipes where the other is wanted."""
    made = []
    for module in MODULES:
        keys = flatten(next(iter(presets(module).values())))
        for key in (key for key in PLACES if key in keys):
            for way in ("a pipe", "a file", "an empty folder", "a circle", "nothing"):
                place = way.replace(" ", "-")
                argv = (*_required(module, key), f"--{key}", place)
                made.append(Command(module, f"{key} is {way}", argv, (key, place, "an-empty-folder"), True))
    return made


CONFIGS: dict[str, Callable[[bytes], bytes]] = {
    "in latin-1": lambda text: b"# caf\xe9\n" + text,
    "in utf-16": lambda text: text.decode().encode("utf-16"),
    "with a mark": lambda text: b"\xef\xbb\xbf" + text,
    "of windows": lambda text: text.replace(b"\n", b"\r\n"),
    "empty": lambda text: b"",
    "a list": lambda text: b"- 1\n",
    "a word": lambda text: b"word\n",
    "with a tab": lambda text: b"\tx: 1\n" + text,
    "deep": lambda text: b"{a: " * 3000,
    "deep lists": lambda text: b"[" * 100_000,
    "laughs": lambda text: b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9) if i else b"1") for i in range(30)
    ),
    "with a tag": lambda text: text + b"\nx: !!python/object/apply:os.getcwd []\n",
    "with nan": lambda text: text.replace(b"epochs: ", b"epochs: .nan #"),
    "with infinity": lambda text: text.replace(b"epochs: ", b"epochs: .inf #"),
    "with digits": lambda text: text.replace(b"epochs: ", b"epochs: 1" + b"0" * 5000 + b" #"),
    "with a date": lambda text: text.replace(b"epochs: ", b"epochs: 2020-01-01 #"),
    "with a set": lambda text: text.replace(b"epochs: ", b"epochs: !!set {1} #"),
    "with numbers for keys": lambda text: text + b"5: 1\n",
    "with lists for keys": lambda text: text + b"? [1, 2]\n: 1\n",
    "with a key twice": lambda text: text + b"loop: {epochs: 2}\n",
    "with a zero byte": lambda text: text + b"\0",
    "of the future": lambda text: text.replace(b"schema_version: 1", b"schema_version: 99"),
    "long": lambda text: text + b"# " + b"x" * 20_000_000,
    "null": lambda text: b"null\n",
    "two documents": lambda text: text + b"---\n" + text,
}


def _configs() -> list[Command]:
    made = []
    for module in ("trainables.distill", "trainables.ground", "datasets.shard"):
        for way in (*CONFIGS, "a folder", "a pipe", "a circle", "nothing", "a device"):
            place = f"{module}-{way}.yaml".replace(" ", "-")
            names = (place, "key", "loop", "configuration", "dataset", "takes", "group")
            made.append(Command(module, f"config {way}", ("--config", place, *_required(module)), names))
    return made


def warm(command: Command) -> None:
    """Import what the command needs, which is no part of what an input takes."""
    for module in ("task", "run", "regions"):
        with contextlib.suppress(ModuleNotFoundError):
            import_module(f"{command.module}.{module}")


def attempt(command: Command, folder: Path) -> Read:
    """Parse a command line and do what the command does until it would read data or train."""
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    before = _outside(folder)
    with contextlib.chdir(work):
        _prepare(command)
        config = parse(presets(command.module), command.argv, f"python -m {command.module}")
        config.check_here()
        _go_on(command, config)
    assert _outside(folder) == before, "wrote outside of its folder"
    assert not command.refuse, "accepted what no run can want"
    return Read(None, {})


def _go_on(command: Command, config: Any) -> None:
    """The next things that the command does, and what holds of any accepted config."""
    numbers = [value for value in flatten(config).values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers)), "accepted a number that is not finite"
    Path("again.yaml").write_text(files.dump(config), errors="surrogateescape")
    assert files.load(type(config), "again.yaml") == config, "is not replayed as it is"
    if command.way.startswith("name "):
        Run.open("hostile", config, config.run)
    if " is " in command.way:
        _open(command.module, config)


def _open(module: str, config: Any) -> None:
    """Open what an option names as the command does."""
    if module == "datasets.shard":
        from datasets.common.sources import open_source

        open_source(config.dataset, config.root.absolute(), config.version).list_samples(None)
    elif module.startswith("datasets."):
        import_module(f"{module}.run").open_source(config).list_samples("train")
    elif module == "trainables.teacher":
        import_module("trainables.teacher.regions").read_regions(config.root, config.version, (112, 192))
    elif isinstance(student := getattr(config, "start", None) or getattr(config, "student", None), str):
        Student.load(student)
    elif module == "trainables.evaluate":
        Shards.open(config.data)
    else:
        task = import_module(f"{module}.task")
        own = [one for one in vars(task).values() if getattr(one, "__module__", "") == task.__name__]
        next(one for one in own if getattr(one, "__name__", "").endswith("Task"))(config)


def _outside(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if folder / "work" not in path.parents)


def _prepare(command: Command) -> None:
    """The files that a command line names, in the working folder."""
    for name in ("a-pipe", "a-file", "an-empty-folder", "a-circle"):
        _make(Path(name), name.replace("-", " "))
    if command.way.startswith("config "):
        way, path = command.way.removeprefix("config "), Path(command.argv[1])
        if way in CONFIGS:
            text = files.dump(next(iter(presets(command.module).values())))
            path.write_bytes(CONFIGS[way](text.encode()))
        else:
            _make(path, way)


def _make(path: Path, way: str) -> None:
    if os.path.lexists(path):
        return
    match way.removeprefix("an ").removeprefix("a "):
        case "pipe":
            os.mkfifo(path)
        case "file":
            path.write_text("hello\n")
        case "empty folder" | "folder":
            path.mkdir()
        case "circle":
            path.symlink_to(path.name)
        case "device":
            path.symlink_to("/dev/zero")


def describe(command: Command) -> str:
    """The command line, for a user's shell."""
    return f"python -m {command.module} {' '.join(map(ascii, command.argv))}"[:2000]
