"""A run's folder: names, resuming, history."""

import errno
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scenelift.errors import ConfigError, StorageError
from scenelift.runs import folder as runs
from scenelift.runs.config import RunConfig
from scenelift.runs.folder import Run

PLATFORM = Path(runs.__file__).parents[2]


@dataclass(frozen=True)
class Config:
    value: int = 3


def opened(tmp_path, **settings):
    return Run.open("distill", Config(), RunConfig(storage=str(tmp_path), **settings))


def test_a_run_keeps_its_config_and_a_taken_name_is_refused(tmp_path):
    run = opened(tmp_path, name="a")
    assert (run.folder / "config.yaml").read_text() == "schema_version: 1\nvalue: 3\n"
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


def test_half_a_line_of_a_killed_driver_spoils_nothing(tmp_path):
    run = opened(tmp_path, name="a")
    run.record({"kind": "metrics", "step": 1})
    with (run.folder / "history.jsonl").open("a") as file:
        file.write('{"kind": "metrics", "values": {"a": 1}')
    again = opened(tmp_path, name="a", resume=True)
    again.record({"kind": "start", "step": 0})
    assert [event["kind"] for event in again.history()] == ["metrics", "start"]


def test_events_wait_while_the_disk_is_full(tmp_path, monkeypatch, capsys):
    run = opened(tmp_path)
    append = runs._append

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs, "_append", full)
    for step in (1, 2):
        run.record({"kind": "metrics", "step": step})
    assert "2 events wait" in capsys.readouterr().err
    monkeypatch.setattr(runs, "_append", append)
    run.record({"kind": "metrics", "step": 3})
    assert [event["step"] for event in run.history()] == [1, 2, 3]


def test_a_line_is_written_whole_or_not_at_all(tmp_path):
    """Against half a line in the middle of the history: /dev/full takes nothing, a limit takes a part."""
    path = tmp_path / "history"
    runs._append(path, "first\n")
    code = (
        "import resource, signal, sys; from pathlib import Path; from scenelift.runs import folder as runs; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)); "
        "runs._append(Path(sys.argv[1]), 'second line\\n')"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=PLATFORM
    )
    assert "OSError" in said.stderr and path.read_text() == "first\n"


def test_the_mlflow_run_is_remembered(tmp_path):
    run = opened(tmp_path, name="a")
    assert run.mlflow_run is None
    run.save_identity({"run_id": "x"})
    assert opened(tmp_path, name="a", resume=True).mlflow_run == "x"
