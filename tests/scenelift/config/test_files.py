"""Files of our own say which version of their schema they have, and another one is refused with what to do."""

import json
from dataclasses import dataclass

import pytest
import torch
import yaml

from scenelift.config import files
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, SceneliftError
from scenelift.runs.folder import Run
from scenelift.runs.history import Origin
from scenelift.train import checkpoints
from scenelift.tune import runner


@dataclass(frozen=True)
class Config:
    seed: int = 0


def test_what_is_stamped_is_accepted_as_it_was():
    values = {"a": 1, "b": [2]}
    written = files.stamp(values, 3)
    assert list(written) == ["schema_version", "a", "b"] and values == {"a": 1, "b": [2]}
    assert files.accept(written, "file", 3, {}) == values


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"a": 1}, "no schema version"),
        ([1], "no schema version"),
        (None, "no schema version"),
        ({"schema_version": 3}, "schema version 3"),
        ({"schema_version": "2"}, "schema version 2"),
        ({"schema_version": [2]}, "schema version [2]"),
        ({"schema_version": 1}, "schema version 1"),
    ],
)
def test_another_version_is_refused_in_one_line(values, found):
    with pytest.raises(ConfigError) as caught:
        files.accept(values, "runs/x/config.yaml", 2, {}, ConfigError)
    said = str(caught.value)
    assert said.startswith("runs/x/config.yaml ") and f"({found}, this one reads 2)" in said
    assert "make it anew" in said and "\n" not in said


def test_migrations_are_applied_one_after_another():
    migrations = {
        1: lambda values: {"length": values["size"]},
        2: lambda values: {"lengths": [values["length"]]},
    }
    assert files.accept({"schema_version": 1, "size": 4}, "file", 3, migrations) == {"lengths": [4]}
    assert files.accept({"schema_version": 2, "length": 4}, "file", 3, migrations) == {"lengths": [4]}
    for version in (0, 4):
        with pytest.raises(SceneliftError, match=f"schema version {version}, this one reads 3"):
            files.accept({"schema_version": version}, "file", 3, migrations)


def run_folder(tmp_path):
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    identity = {"run_id": "abc", "experiment": "distill", "tags": {}}
    (folder / "run.json").write_text(json.dumps(files.stamp(identity, 1)))
    (folder / "result.json").write_text(json.dumps(files.stamp({"status": "finished"}, 1)))
    (folder / "config.yaml").write_text(dump(Config()))
    (folder / "sweep.yaml").write_text(yaml.safe_dump(files.stamp(SWEEP, 1)))
    torch.save(files.stamp({"step": 3}, 1), folder / "training.pt")
    return folder


SWEEP = {"name": "a", "sweep": {}, "config": {}, "given": [], "max_concurrent": 1, "mlflow_run": "abc"}
READERS = {
    "run.json": [lambda folder: Run(folder).mlflow_run, lambda folder: Origin.of(folder / "student")],
    "result.json": [lambda folder: Run(folder).status],
    "config.yaml": [
        lambda folder: load(Config, folder / "config.yaml"),
        lambda folder: Origin.of(folder / "student"),
    ],
    "sweep.yaml": [lambda folder: runner.read_state(folder / "sweep.yaml")],
    "training.pt": [checkpoints.read_state],
}


@pytest.mark.parametrize(
    ("name", "read"), [(name, read) for name, readers in READERS.items() for read in readers]
)
def test_each_file_of_a_run_is_read_in_its_own_version_only(tmp_path, name, read):
    folder = run_folder(tmp_path)
    read(folder)
    if name == "training.pt":
        torch.save({"schema_version": 99}, folder / name)
    else:
        (folder / name).write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(SceneliftError, match=rf"{name} was written by another Scenelift \(schema version 99"):
        read(folder)
