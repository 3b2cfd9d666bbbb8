"""The folder of a run: its config word for word, its history, checkpoints, pictures and result."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from scenelift.config import files
from scenelift.config.files import dump
from scenelift.errors import ConfigError, StorageError
from scenelift.io import folders, storage
from scenelift.io.console import say
from scenelift.io.storage import Location
from scenelift.runs.config import RunConfig

HISTORY_SECONDS = 30.0
"""At most so long a run's history in a bucket lacks metrics that were logged."""
VERSION = 1
"""Of run.json and result.json; config.yaml has its own."""
MIGRATIONS: files.Migrations = {}
_CONFIG, _IDENTITY, _HISTORY, _RESULT = "config.yaml", "run.json", "history.jsonl", "result.json"


class Run:
    """`<storage>/<name>/`; every file in it is written by the driver, except the checkpoints.

    The driver works in `folder`. On a local disk that is the run's place itself; a run in a bucket has a
    temporary folder, and what is to stay is copied by `publish`.
    """

    def __init__(self, place: Location) -> None:
        self.place = storage.absolute(place)
        self.name = storage.split(self.place)[1]
        self.checkpoints = storage.join(self.place, "checkpoints")
        self.initial = storage.join(self.place, "initial")
        self._copied = -math.inf
        self._waiting: list[str] = []

    @functools.cached_property
    def folder(self) -> Path:
        """Where the driver writes."""
        if not self.remote:
            return Path(self.place)
        self._temporary = tempfile.TemporaryDirectory(prefix="scenelift-run-")
        return Path(self._temporary.name)

    @property
    def remote(self) -> bool:
        """Whether the run lies elsewhere than the driver's files."""
        return "://" in self.place

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def records(self) -> Path:
        """Folder on this machine for what MLflow keeps where no server is named: that of all runs."""
        return Path("runs").resolve() if self.remote else self.folder.parent

    @classmethod
    def open(cls, command: str, config: Any, settings: RunConfig) -> Run:
        """Begin a run or continue one.

        Raises ConfigError if the name is taken, or if there is nothing to continue; StorageError if it cannot be
        written.
        """
        name = settings.name or f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = cls(storage.join(settings.storage, name))
        exists = run.begun
        if settings.resume and not exists:
            raise ConfigError(f"no run {name} under {settings.storage} to resume; give run.name")
        if exists and not settings.resume:
            raise ConfigError(
                f"run {name} exists; continue it with --run.resume true or give another run.name"
            )
        try:
            run._begin(dump(config))
        except (OSError, StorageError) as error:
            raise StorageError(
                f"cannot write the run's folder {run.place}: {error}; set run.storage"
            ) from None
        return run

    def _begin(self, config: str) -> None:
        if self.remote and self.begun:
            with folders.fetched(self.place, [_IDENTITY, _HISTORY]) as there:
                shutil.copytree(there, self.folder, dirs_exist_ok=True)
        self.pictures.mkdir(parents=True, exist_ok=True)
        storage.make_folder(*storage.resolve(self.checkpoints))
        (self.folder / _CONFIG).write_text(config)
        self.publish(_CONFIG)

    def publish(self, *names: str) -> None:
        """Copy files and folders to the run's place, if that is elsewhere. Raises StorageError."""
        if self.remote:
            for name in names:
                folders.upload(self.folder / name, storage.join(self.place, name))

    @property
    def begun(self) -> bool:
        """Whether there is a run to continue."""
        return storage.exists(*storage.resolve(storage.join(self.place, _CONFIG)))

    @property
    def status(self) -> str | None:
        """How the run ended; None: it has not."""
        result = self.result
        return None if result is None else result["status"]

    @property
    def result(self) -> dict[str, Any] | None:
        """What `finish` wrote; None: the run has not ended."""
        return _read(self.folder / _RESULT)

    @property
    def mlflow_run(self) -> str | None:
        """Id of the run's MLflow run, once it has one."""
        identity = _read(self.folder / _IDENTITY)
        return None if identity is None else identity["run_id"]

    def save_identity(self, identity: dict[str, Any]) -> None:
        """Keep which MLflow run this is, for a resumed training, and its tags, for those that start from it."""
        (self.folder / _IDENTITY).write_text(json.dumps(files.stamp(identity, VERSION)))
        self.publish(_IDENTITY)

    def record(self, event: dict[str, Any]) -> None:
        """Append one event to the run's history.

        In a bucket it appears with the next event that is not a metric, or within `HISTORY_SECONDS` while there are
        events. What a full disk or a bucket does not take now it gets with a later event.
        """
        self._waiting.append(json.dumps({"time": round(time.time(), 3), **event}) + "\n")
        try:
            _append(self.folder / _HISTORY, "".join(self._waiting))
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
        history = self.folder / _HISTORY
        if not history.exists():
            return []
        return list(_events(history.read_text()))

    def curves(self) -> dict[str, tuple[list[int], list[float]]]:
        """Logged metrics by name as (steps, values); of a step that was repeated, the last value."""
        series: dict[str, dict[int, float]] = {}
        for event in self.history():
            if event["kind"] in ("metrics", "epoch"):
                for name, value in event["values"].items():
                    series.setdefault(name, {})[event["step"]] = value
        return {
            name: (sorted(points), [points[s] for s in sorted(points)]) for name, points in series.items()
        }

    def finish(self, result: dict[str, Any]) -> str:
        """Write `result.json`, whole or not at all, after everything else that is to stay; returns its place."""
        path = self.folder / _RESULT
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(files.stamp(result, VERSION), indent=1))
        partial.rename(path)
        self.publish(*(name for name in (_HISTORY, "pictures") if (self.folder / name).exists()))
        self.publish(path.name)
        return storage.join(self.place, path.name)


def _read(path: Path) -> dict[str, Any] | None:
    return files.accept(json.loads(path.read_text()), path, VERSION, MIGRATIONS) if path.exists() else None


def _append(path: Path, text: str) -> None:
    """Add lines to a file, all or none; after a half line, which a killed process left, they begin a new one."""
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            text = text if file.read(1) == b"\n" else "\n" + text
        try:
            if file.write(text.encode()) < len(text.encode()):
                raise OSError(errno.ENOSPC, "no space left", str(path))
        except OSError:
            file.truncate(size)
            raise


def _events(text: str) -> Iterator[dict[str, Any]]:
    """The events of a history, but for a half one that a killed process left."""
    for line in text.splitlines():
        with suppress(ValueError):
            yield json.loads(line)
