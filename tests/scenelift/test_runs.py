"""A run's folder: names, resuming, history."""

from dataclasses import dataclass

import pytest

from scenelift.errors import ConfigError, StorageError
from scenelift.runs import Run, RunConfig


@dataclass(frozen=True)
class Config:
    value: int = 3


def opened(tmp_path, **settings):
    return Run.open("distill", Config(), RunConfig(storage=str(tmp_path), **settings))


def test_a_run_keeps_its_config_and_a_taken_name_is_refused(tmp_path):
    run = opened(tmp_path, name="a")
    assert (run.folder / "config.yaml").read_text() == "value: 3\n"
    with pytest.raises(ConfigError, match=r"--run.resume true"):
        opened(tmp_path, name="a")
    assert opened(tmp_path, name="a", resume=True).folder == run.folder
    with pytest.raises(ConfigError, match="no run b"):
        opened(tmp_path, name="b", resume=True)


def test_a_storage_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"run\.storage"):
        Run.open("distill", Config(), RunConfig(storage=str(tmp_path / "file")))


def test_curves_keep_the_last_value_of_a_repeated_step(tmp_path):
    run = opened(tmp_path)
    for step, value in ((2, 1.0), (4, 0.5), (4, 0.4), (6, 0.3)):
        run.record({"kind": "metrics", "step": step, "values": {"loss/total": value}})
    run.record({"kind": "start", "step": 4})
    assert run.curves() == {"loss/total": ([2, 4, 6], [1.0, 0.4, 0.3])}


def test_the_mlflow_run_is_remembered(tmp_path):
    run = opened(tmp_path, name="a")
    assert run.mlflow_run is None
    run.remember({"run_id": "x"})
    assert opened(tmp_path, name="a", resume=True).mlflow_run == "x"
