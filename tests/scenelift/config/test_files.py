"""Files of our own say which version of their schema they have, and another one is refused with what to do."""

import json
import os
from dataclasses import dataclass

import pytest
import torch
import yaml

from scenelift.config import files
from scenelift.config.cli import parse
from scenelift.config.constraints import PositiveFloat, PositiveInt, Settings
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


@dataclass(frozen=True)
class Numbers(Settings):
    epochs: PositiveInt = 3
    rate: PositiveFloat = 0.1
    words: str = ""
    names: tuple[str, ...] = ()


ODD_CONFIGS = {
    "latin-1": "words: café".encode("latin-1"),
    "utf-16": "words: a".encode("utf-16"),
    "infinite epochs": b"epochs: .inf",
    "infinite rate": b"rate: .inf",
    "nan": b"rate: .nan",
    "1e400": b"rate: 1.0e+400",
    "deep": b"words: " + b"[" * 1200,
    "deep closed": b"words: " + b"[" * 1200 + b"]" * 1200,
    "deep groups": b"words: " + b"{a: " * 3000,
    "a long number": b"epochs: " + b"9" * 5000,
    "a long word": b"epochs: " + b"x" * 100_000,
    "a long key": b"x" * 100_000 + b": 3",
    "a long list": b"epochs: [" + b"1, " * 5_000 + b"]",
    "no number": b"epochs: three",
    "a fraction": b"epochs: 2.5",
    "a bad date": b"words: 2026-13-45",
    "a bad binary": b"words: !!binary x",
    "a tag": b"words: !!python/object/apply:os.system [ls]",
    "laughs": b"a: &a [x, x]\nb: &b [*a, *a]\nwords: [*b, *b]",
    "a list": b"- 1",
    "a word": b"hello",
    "nothing": b"",
    "zeros": bytes(100),
    "half": b"words: 'a",
    "tabs": b"\twords: a",
    "twice": b"epochs: 3\n? [a]\n: 3",
}


@pytest.mark.parametrize("name", ODD_CONFIGS)
def test_an_odd_config_is_refused_in_one_short_line(tmp_path, name):
    path = tmp_path / "odd.yaml"
    whole = name in ("utf-16", "zeros", "nothing", "a list", "a word", "laughs")
    path.write_bytes(ODD_CONFIGS[name] if whole else b"schema_version: 1\n" + ODD_CONFIGS[name])
    for way in (
        lambda: load(Numbers, path),
        lambda: parse({"least": Numbers()}, ["--config", str(path)], "x"),
    ):
        with pytest.raises(ConfigError) as caught:
            way()
        said = str(caught.value)
        assert said.isprintable() and len(said) < 500, said[:600]


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (
        tmp_path,
        tmp_path / "none.yaml",
        tmp_path / "pipe",
        tmp_path / "a\0b",
        "/dev/null",
        "nosuch://a/b",
    ):
        with pytest.raises(SceneliftError) as caught:
            load(Numbers, path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "option", ["--epochs=" + "9" * 5000, "--rate=" + "x" * 5000, "--" + "y" * 5000 + "=1", "z" * 5000]
)
def test_an_endless_option_is_not_repeated_whole(option):
    with pytest.raises(ConfigError) as caught:
        parse({"least": Numbers()}, [option], "x")
    assert len(str(caught.value)) < 500


def test_files_of_windows_editors_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes("schema_version: 1\r\nwords: café\r\n".encode("utf-8-sig"))
    assert load(Numbers, path) == Numbers(words="café")
