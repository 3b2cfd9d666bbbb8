"""The folder of a run: its config word for word, its history, checkpoints, pictures and result."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenelift import config as configuration
from scenelift.errors import ConfigError, StorageError


@dataclass(frozen=True)
class RunConfig:
    """Where a run is kept and what it is called."""

    name: str | None = None
    """Name of the run and of its folder; none: the command and the time, in MLflow also what the run changes."""
    storage: str = "runs"
    """Folder of all runs."""
    resume: bool = False
    """Continue the run of this name from its newest checkpoint, and its MLflow run."""


class Run:
    """`<storage>/<name>/`; every file in it is written by the driver, except the checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.checkpoints = self.folder / "checkpoints"
        self.pictures = self.folder / "pictures"
        self.initial = self.folder / "initial"
        self._history = self.folder / "history.jsonl"
        self._identity = self.folder / "run.json"

    @property
    def name(self) -> str:
        return self.folder.name

    @classmethod
    def open(cls, command: str, config: Any, settings: RunConfig) -> Run:
        """Begin a run or continue one; ConfigError if the name is taken, or if there is nothing to continue."""
        name = settings.name or f"{command}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = cls(Path(settings.storage) / name)
        exists = run.begun
        if settings.resume and not exists:
            raise ConfigError(f"no run {name} under {settings.storage} to resume; give run.name")
        if exists and not settings.resume:
            raise ConfigError(
                f"run {name} exists; continue it with --run.resume true or give another run.name"
            )
        try:
            for folder in (run.folder, run.pictures, run.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            (run.folder / "config.yaml").write_text(configuration.dump(config))
        except OSError as error:
            raise StorageError(
                f"cannot write the run folder {run.folder}: {error}; set run.storage"
            ) from None
        return run

    @property
    def begun(self) -> bool:
        """Whether there is a run to continue."""
        return (self.folder / "config.yaml").exists()

    @property
    def mlflow_run(self) -> str | None:
        """Id of the run's MLflow run, once it has one."""
        return json.loads(self._identity.read_text())["run_id"] if self._identity.exists() else None

    def remember(self, identity: dict[str, Any]) -> None:
        """Keep which MLflow run this is, for a resumed training, and its tags, for those that start from it."""
        self._identity.write_text(json.dumps(identity))

    def record(self, event: dict[str, Any]) -> None:
        """Append one event to the run's history."""
        with self._history.open("a") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")

    def history(self) -> list[dict[str, Any]]:
        """All events so far, oldest first."""
        if not self._history.exists():
            return []
        return [json.loads(line) for line in self._history.read_text().splitlines()]

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

    def finish(self, result: dict[str, Any]) -> Path:
        """Write `result.json`, whole or not at all."""
        path = self.folder / "result.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1))
        partial.rename(path)
        return path
