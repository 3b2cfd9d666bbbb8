"""The folder of a run: its config, history, checkpoints, pictures and result."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import shutil
import tempfile
import time
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
"""Longest delay with which metrics reach the history of a run in a bucket."""
VERSION = 1
"""Schema version of run.json and result.json; config.yaml has its own."""
MIGRATIONS: files.Migrations = {}
_CONFIG, _IDENTITY, _HISTORY, _RESULT = "config.yaml", "run.json", "history.jsonl", "result.json"


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
        name = settings.name or f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = cls(storage.join(settings.storage, name))
        if settings.resume and not run.begun:
            raise ConfigError(f"no run {name} under {settings.storage} to resume; give run.name")
        if run.begun and not settings.resume:
            raise ConfigError(f"run {name} exists; continue it with --run.resume true or give another name")
        try:
            if run.remote and settings.resume:
                with folders.fetched(run.place, [_IDENTITY, _HISTORY]) as local:
                    shutil.copytree(local, run.folder, dirs_exist_ok=True)
            run.pictures.mkdir(parents=True, exist_ok=True)
            storage.make_folder(*storage.resolve(run.checkpoints))
            (run.folder / _CONFIG).write_text(dump(config))
            run.publish(_CONFIG)
        except (OSError, StorageError) as error:
            raise StorageError(f"cannot write the run {run.place}: {error}; set run.storage") from None
        return run

    def publish(self, *names: str) -> None:
        """Copy files and folders to the place of a remote run; StorageError if that fails."""
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
        return self.result["status"] if self.result else None

    @property
    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None: the run has not ended."""
        return _read(self.folder / _RESULT)

    @property
    def mlflow_run(self) -> str | None:
        """Id of the run's MLflow run, once it has one."""
        identity = _read(self.folder / _IDENTITY)
        return identity["run_id"] if identity else None

    def save_identity(self, identity: dict[str, Any]) -> None:
        """Save the id of the MLflow run, for a resumed training, and its tags, for trainings that start from it."""
        (self.folder / _IDENTITY).write_text(json.dumps(files.stamp(identity, VERSION)))
        self.publish(_IDENTITY)

    def record(self, event: dict[str, Any]) -> None:
        """Append an event to the run's history. It reaches a bucket with the next event that is not a metric,
        or after `HISTORY_SECONDS`. Events that cannot be written are written with a later one."""
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
        path, events = self.folder / _HISTORY, []
        for line in path.read_text().splitlines() if path.exists() else ():
            with suppress(ValueError):  # half a line, left by a killed process
                events.append(json.loads(line))
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
        path = self.folder / _RESULT
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(files.stamp(result, VERSION), indent=1))
        partial.rename(path)
        self.publish(*(name for name in (_HISTORY, "pictures") if (self.folder / name).exists()))
        self.publish(path.name)


def _read(path: Path) -> dict[str, Any] | None:
    return files.accept(json.loads(path.read_text()), path, VERSION, MIGRATIONS) if path.exists() else None


def _append(path: Path, text: str) -> None:
    """Append all lines or none, on a new line if a killed process left half a line."""
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
