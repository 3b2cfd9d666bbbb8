"""The folder of a run: its config, history, checkpoints, pictures and result."""

from __future__ import annotations

import dataclasses
import errno
import functools
import itertools
import json
import math
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from scenelift.config import files
from scenelift.config.files import dump
from scenelift.errors import ConfigError, StorageError
from scenelift.io import folders, storage
from scenelift.io.console import say
from scenelift.io.secrets import addresses, public
from scenelift.io.storage import Location
from scenelift.runs.config import RunConfig
from scenelift.runs.resume import CONFIG

_LARGEST = 1 << 30
"""Bytes of a history."""
HISTORY_SECONDS = 30.0
"""Longest delay with which metrics reach the history of a run in a bucket."""
VERSION = 1
"""Schema version of run.json and result.json; config.yaml has its own."""
MIGRATIONS: files.Migrations = {}
_IDENTITY, _HISTORY, _RESULT, _LOCK = "run.json", "history.jsonl", "result.json", "run.lock"


class Run:
    """`<storage>/<name>/`, written by the driver except for the checkpoints. The driver writes into `folder`:
    the place itself on a local disk, else a temporary folder from which `publish` copies."""

    def __init__(self, place: Location) -> None:
        self.place = storage.absolute(place)
        self.name = storage.split(self.place)[1]
        self.checkpoints = storage.join(self.place, "checkpoints")
        self.initial = storage.join(self.place, "initial")
        self._copied = -math.inf
        self._waiting: list[str] = []

    @functools.cached_property
    def folder(self) -> Path:
        """The local folder that the driver writes into."""
        if not self.remote:
            return Path(self.place)
        self._temporary = tempfile.TemporaryDirectory(prefix="scenelift-run-")
        return Path(self._temporary.name)

    @property
    def remote(self) -> bool:
        """Whether the run's place is a URI."""
        return "://" in self.place

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def records(self) -> Path:
        """Local folder of all runs, where MLflow's records lie if there is no server."""
        return Path("runs").resolve() if self.remote else self.folder.parent

    @classmethod
    def open(cls, command: str, config: Any, settings: RunConfig) -> Run:
        """Begin or continue a run. ConfigError for a taken or unknown name; StorageError if it cannot be
        written."""
        storage.require_space(settings.storage, 64 << 20)
        run = (
            cls(storage.join(settings.storage, settings.name))
            if settings.name
            else _unnamed(command, settings)
        )
        if settings.resume and not run.begun:
            raise ConfigError(f"no run {run.name} under {settings.storage} to resume; give run.name")
        if run.begun and not settings.resume:
            raise ConfigError(
                f"run {run.name} exists; continue it with --run.resume true or give another name"
            )
        try:
            if run.remote and settings.resume:
                with folders.fetched(run.place, [_IDENTITY, _HISTORY]) as local:
                    shutil.copytree(local, run.folder, dirs_exist_ok=True)
            run.pictures.mkdir(parents=True, exist_ok=True)
            run.lock()
            storage.remove_temporary(*storage.resolve(run.folder))  # of a killed process
            storage.make_folder(*storage.resolve(run.checkpoints))
            run.save_settings(config)
        except (OSError, StorageError) as error:
            raise StorageError(f"cannot write the run {run.place}: {error}; set run.storage") from None
        return run

    def lock(self) -> None:
        """Keep other processes from writing this run, until `release`. ConfigError if one has it. Buckets have no
        locks."""
        if self.remote or self.place in _locked:
            return
        import fcntl  # not on Windows, where runs are looked at and not written

        file = (self.folder / _LOCK).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "another process"
            file.close()
            raise ConfigError(f"run {self.name} is being written by {who}; wait for it, or stop it") from None
        except OSError as error:  # some network file systems have none
            say(f"{self.folder} has no locks ({error.strerror}): see that no second process writes this run")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        _locked[self.place] = file

    def release(self) -> None:
        """Let other processes write this run."""
        if file := _locked.pop(self.place, None):
            file.close()

    def save_settings(self, config: Any) -> None:
        """Write the config, if it is not what is written already: without the wish to resume, to be replayed."""
        if (settings := getattr(config, "run", None)) is not None:
            config = dataclasses.replace(config, run=dataclasses.replace(settings, resume=False))
        text, path = dump(config), storage.join(self.place, CONFIG)
        filesystem, place = storage.resolve(path)
        if not self.begun or storage.read_bytes(filesystem, place) != text.encode():
            storage.write_text(path, text)

    def publish(self, *names: str) -> None:
        """Copy files and folders to the place of a remote run; StorageError if that fails."""
        if self.remote:
            for name in names:
                folders.upload(self.folder / name, storage.join(self.place, name))

    @property
    def begun(self) -> bool:
        """Whether there is a run to continue."""
        return storage.exists(*storage.resolve(storage.join(self.place, CONFIG)))

    @property
    def settings(self) -> dict[str, Any]:
        """The run's config as plain values; StorageError if it cannot be read."""
        advice = "the run cannot be gone on with; give another name"
        path = storage.join(self.place, CONFIG)
        return files.read(path, {}, files.VERSION, files.MIGRATIONS, StorageError, advice, "YAML")

    @property
    def status(self) -> str | None:
        """How the run ended; None: it has not."""
        return self.result["status"] if self.result else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None: the run has not ended."""
        advice = "delete the file, and the run counts as one that has not ended"
        return self._read(_RESULT, {"status": str}, advice)

    @property
    def mlflow_run(self) -> str | None:
        """Id of the run's MLflow run, once it has one."""
        return self.identity["run_id"] if self.identity else None

    @property
    def identity(self) -> dict[str, Any] | None:
        """Its MLflow run, with its tags; None: it has none yet. StorageError if that cannot be read."""
        advice = "delete the file, and resuming begins another MLflow run"
        identity = self._read(_IDENTITY, {"run_id": str}, advice)
        if identity is not None and not isinstance(identity.get("tags", {}), dict):
            raise StorageError(
                f"{self.place}: {_IDENTITY} is damaged: its tags are no names with values; {advice}"
            )
        return identity

    def _read(self, name: str, fields: dict[str, type], advice: str) -> dict[str, Any] | None:
        """A file of the run, from where it lies; None if there is none."""
        path = storage.join(self.place, name)
        if not storage.exists(*storage.resolve(path)):
            return None
        return files.read(path, fields, VERSION, MIGRATIONS, StorageError, advice)

    def save_identity(self, identity: dict[str, Any]) -> None:
        """Save the id of the MLflow run, for a resumed training, and its tags, for trainings that start from it."""
        storage.write_text(
            storage.join(self.place, _IDENTITY), json.dumps(files.stamp(addresses(identity), VERSION))
        )

    def record(self, event: dict[str, Any]) -> None:
        """Append an event to the run's history. It reaches a bucket with the next event that is not a metric,
        or after `HISTORY_SECONDS`. Events that cannot be written are written with a later one."""
        self._waiting.append(public(json.dumps({"time": round(time.time(), 3), **event})) + "\n")
        try:
            _append(self.folder / _HISTORY, "".join(self._waiting), synced=event["kind"] != "metrics")
        except OSError as error:
            say(f"{len(self._waiting)} events wait for the run's history: {error}")
            return
        self._waiting.clear()
        if self.remote and (event["kind"] != "metrics" or time.monotonic() - self._copied > HISTORY_SECONDS):
            self._copied = time.monotonic()
            try:
                self.publish(_HISTORY)
            except StorageError as error:
                say(f"the run's history waits to be copied: {error}")

    def history(self) -> list[dict[str, Any]]:
        """All events so far, oldest first."""
        path = self.folder / _HISTORY
        filesystem, place = storage.resolve(path)
        there = storage.exists(filesystem, place)
        lines = storage.read_bytes(filesystem, place, _LARGEST).splitlines() if there else []
        events = [event for event in map(_event, lines) if event is not None]
        if len(events) < len(lines) - 1:  # a killed process leaves one half line
            say(f"{path} has {len(lines) - len(events):,} lines that cannot be read, of {len(lines):,}")
        return events

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Logged metrics by name as (steps, values); the last value of a repeated step."""
        series: dict[str, dict[int, float]] = {}
        for event in self.history():
            if event["kind"] in ("metrics", "epoch"):
                for name, value in event["values"].items():
                    series.setdefault(name, {})[event["step"]] = value
        return {name: (sorted(each), [each[step] for step in sorted(each)]) for name, each in series.items()}

    def finish(self, result: dict[str, Any]) -> None:
        """Publish everything, and write `result.json` atomically as the last file."""
        self.publish(*(name for name in (_HISTORY, "pictures") if (self.folder / name).exists()))
        text = json.dumps(files.stamp(addresses(result), VERSION), indent=1)
        storage.write_text(storage.join(self.place, _RESULT), text)


_locked: dict[str, IO[str]] = {}
"""Place of a run -> its lock file, of the runs that this process writes."""


def _unnamed(command: str, settings: RunConfig) -> Run:
    """A run called by the time, and by a number if another one began in the same second."""
    name = f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    candidates = (Run(storage.join(settings.storage, each)) for each in names)
    return next(run for run in candidates if not storage.exists(*storage.resolve(run.place)))


def _event(line: bytes) -> dict[str, Any] | None:
    """An event of a history; None for half a line, left by a killed process, or anything else."""
    try:
        event = json.loads(line)
        sound = isinstance(event["step"], int)
        if event["kind"] in ("metrics", "epoch"):  # the values of an estimate also have names
            numbers = event.setdefault("values", {}).values()
            sound = sound and all(isinstance(each, int | float) for each in numbers)
        return event if sound else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _append(path: Path, text: str, synced: bool = False) -> None:
    """Append all lines or none, on a new line if a killed process left half a line; synced: to the disk at once."""
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            text = text if file.read(1) == b"\n" else "\n" + text
        try:
            if file.write(text.encode()) < len(text.encode()):
                raise OSError(errno.ENOSPC, "no space left", str(path))
            if synced:
                os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
