"""A run's folder: names, resuming, history."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scenelift.errors import ConfigError, StorageError
from scenelift.runs import folder as runs
from scenelift.runs.config import RunConfig
from scenelift.runs.folder import Run
from scenelift.runs.history import Origin
from tests.made.full_disk import ROOT, no_file_above

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


def test_events_wait_while_the_disk_is_full(tmp_path, capsys):
    run = opened(tmp_path)
    for step in (1, 2):
        with no_file_above(20):
            run.record({"kind": "metrics", "step": step})
    assert "2 events wait" in capsys.readouterr().err
    run.record({"kind": "metrics", "step": 3})
    assert [event["step"] for event in run.history()] == [1, 2, 3]


def test_a_full_disk_spoils_none_of_a_runs_files(tmp_path):
    run = opened(tmp_path, name="a")
    run.save_identity({"run_id": "x", "tags": {}})
    run.finish({"status": "failed"})
    before = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    writes = (
        lambda: run.save_settings(Config(4)),
        lambda: run.save_identity({"run_id": "y"}),
        lambda: run.finish({"status": "finished"}),
    )
    for write in writes:
        with no_file_above(5), pytest.raises(StorageError):
            write()
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before


DAMAGED = (b"", b"{", bytes(99), b"[]", b"7", b"null", b'{"schema_version": 1}', b"\xff\xfe", b"[" * 100_000)


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_file_of_a_run_is_named_in_one_line(tmp_path, data):
    run = opened(tmp_path, name="a")
    run.save_identity({"run_id": "x", "tags": {}})
    run.finish({"status": "failed"})
    reads = {
        "run.json": (lambda: run.mlflow_run, lambda: Origin.of(run.folder / "student")),
        "result.json": (lambda: run.status,),
    }
    for name, calls in reads.items():
        whole = (run.folder / name).read_bytes()
        (run.folder / name).write_bytes(data)
        for call in calls:
            with pytest.raises(StorageError, match=f"{name} .*; delete the file") as caught:
                call()
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
        (run.folder / name).write_bytes(whole)
    if data != DAMAGED[6]:  # a config that sets nothing
        (run.folder / "config.yaml").write_bytes(data)
        with pytest.raises(StorageError, match=r"config\.yaml"):
            Origin.of(run.folder / "student")


def test_events_that_make_no_sense_are_left_out_of_a_history(tmp_path):
    run = opened(tmp_path, name="a")
    run.record({"kind": "metrics", "step": 1, "values": {"loss": 2.0}})
    odd = (
        b"7",
        b"[]",
        b'{"kind": "metrics"}',
        b'{"kind": "epoch", "step": "x", "values": {}}',
        b"\xff",
        bytes(99),
    )
    odd += (
        b'{"kind": "metrics", "step": 2, "values": {"loss": "x"}}',
        b'{"kind": "metrics", "step": 2, "values": 3}',
    )
    with (run.folder / "history.jsonl").open("ab") as file:
        file.write(b"\n".join((*odd, b"[" * 100_000, b"")))
    assert run.curves() == {"loss": ([1], [2.0])} and len(run.history()) == 1


def test_one_process_writes_a_run(tmp_path):
    """Another one is told who has it, until it is released or dead."""
    run = opened(tmp_path, name="a")
    code = (
        "import sys, os; from tests.scenelift.runs.test_folder import opened; from pathlib import Path\n"
        "try: opened(Path(sys.argv[1]), name='a', resume=True)\n"
        "except Exception as error: print(error)\n"
        "else: print('taken', flush=True); os.kill(os.getpid(), 9)"
    )
    path = os.pathsep.join(map(str, (ROOT, PLATFORM)))

    def other() -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
        ).stdout

    assert f"run a is being written by process {os.getpid()} on {socket.gethostname()}; wait" in other()
    assert opened(tmp_path, name="a", resume=True).folder == run.folder, (
        "a process may open its own run again"
    )
    run.release()
    assert other() == "taken\n"
    opened(tmp_path, name="a", resume=True).release()


def test_runs_without_a_name_of_one_second_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.setattr(runs.time, "strftime", lambda form: "now")
    assert [opened(tmp_path).name for _ in range(3)] == ["distill-now", "distill-now-2", "distill-now-3"]


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
