"""Protects what a run leaves in MLflow: nothing twice after a restart, nothing lost, and quick answers to
addresses that do not work."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from scenelift.errors import SceneliftError, TrackingError
from scenelift.tracking import client as tracking
from scenelift.tracking import provenance, store
from scenelift.tracking.client import Tracker
from scenelift.tracking.config import TrackingConfig
from scenelift.tracking.store import resolve

SILENT = TrackingConfig(experiment="tests", system_metrics=0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder that the tests share: making MLflow's tables takes a second."""
    return tmp_path_factory.mktemp("runs with a space")


@pytest.fixture(autouse=True)
def _no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def tracker(runs: Path) -> Iterator[Tracker]:
    tracker = start(runs)
    yield tracker
    tracker.finish("FINISHED")


def start(runs: Path, params: dict[str, Any] | None = None, **options: Any) -> Tracker:
    return Tracker.start(SILENT, runs, "a-run", params or {}, {"method": "distill"}, **options)


def stored(tracker: Tracker) -> Any:
    return MlflowClient(tracker.info["tracking_uri"]).get_run(tracker.info["run_id"])


def history(tracker: Tracker, name: str) -> list[tuple[int, float]]:
    client = MlflowClient(tracker.info["tracking_uri"])
    return [(m.step, m.value) for m in client.get_metric_history(tracker.info["run_id"], name)]


def test_the_default_is_a_database_beside_the_runs(runs: Path, tracker: Tracker) -> None:
    assert tracker.info["tracking_uri"] == f"sqlite:///{runs}/mlflow.db"
    assert tracker.info["experiment"] == "tests"
    run = stored(tracker)
    assert run.info.run_name == "a-run" and run.info.status == "RUNNING"
    assert run.info.artifact_uri.startswith(runs.as_uri())
    assert {"method", "ray", "torch", "command", "mlflow.user"} <= set(run.data.tags)


def test_a_continued_run_keeps_its_parameters_and_notes_changed_ones(runs: Path) -> None:
    first = start(runs, {"loop.epochs": 10, "student.planes": (16, 24)})
    first.finish("KILLED")
    run_id = first.info["run_id"]
    second = start(runs, {"loop.epochs": 20, "student.planes": (16, 24), "loop.seed": 1}, run_id=run_id)
    assert second.info == first.info
    assert stored(second).info.status == "RUNNING"
    second.finish("FINISHED")
    run = stored(second)
    assert run.data.params == {"loop.epochs": "10", "student.planes": "(16, 24)", "loop.seed": "1"}
    assert run.data.tags["resumed/loop.epochs"] == "20"
    assert "resumed/student.planes" not in run.data.tags
    assert run.info.status == "FINISHED"


def test_more_parameters_than_one_request_takes(runs: Path) -> None:
    params = {f"group.p{i}": i for i in range(250)} | {"long": "x" * 9000}
    tracker = start(runs, params)
    assert len(stored(tracker).data.params) == 251
    again = start(runs, params, run_id=tracker.info["run_id"])
    assert not [tag for tag in stored(again).data.tags if tag.startswith("resumed/")]
    again.finish("FINISHED")


def test_steps_that_a_restarted_worker_repeats_are_dropped(runs: Path) -> None:
    first = start(runs)
    for step in range(5):
        first.metrics({"loss/total": 10.0 - step}, step)
    first.metrics({"loss/total": 99.0}, 3)
    first.finish("FAILED")
    second = start(runs, run_id=first.info["run_id"])
    for step in range(2, 8):
        second.metrics({"loss/total": 10.0 - step, "other": 1.0}, step)
    second.finish("FINISHED")
    assert history(second, "loss/total") == [(step, 10.0 - step) for step in range(8)]
    assert [step for step, _ in history(second, "other")] == list(range(2, 8))


def test_scores_of_a_run_that_is_scored_again_replace_the_old_ones(runs: Path) -> None:
    first = start(runs)
    first.metrics({"loss/total": 1.0}, 7)
    first.scores({"label_free/miou": 0.7, "only/before": 0.1}, 7)
    first.finish("FINISHED")
    again = start(runs, run_id=first.info["run_id"])
    again.scores({"label_free/miou": 0.5}, 7)
    again.finish("FINISHED")
    recorded = stored(first).data.metrics
    assert recorded == {"loss/total": 1.0, "label_free/miou": 0.5, "only/before": 0.1}


def test_metrics_are_sent_in_batches(tracker: Tracker) -> None:
    for step in range(tracking.BATCH - 1):
        tracker.metrics({"batched": step}, step)
    assert history(tracker, "batched") == []
    tracker.metrics({"batched": 0.0}, tracking.BATCH)
    assert len(history(tracker, "batched")) == tracking.BATCH


def test_metrics_do_not_wait_longer_than_some_seconds(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.metrics({"timed": 1.0}, 1)
    later = time.monotonic() + tracking.SECONDS
    monkeypatch.setattr(tracking.time, "monotonic", lambda: later)
    tracker.metrics({"timed": 2.0}, 2)
    assert history(tracker, "timed") == [(1, 1.0), (2, 2.0)]


def test_numbers_that_are_not_finite_are_gaps_and_odd_names_are_mended(tracker: Tracker) -> None:
    tracker.metrics({"iou/bus (bendy)": math.inf}, 1)
    tracker.metrics({"iou/bus (bendy)": math.nan}, 2)
    tracker.metrics({"iou/bus (bendy)": 0.5}, 3)
    tracker.flush()
    values = [value for _, value in history(tracker, "iou/bus _bendy_")]
    assert math.isnan(values[0]) and math.isnan(values[1]) and values[2] == 0.5


def test_points_wait_while_the_server_is_away(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage neither stops a training nor loses its numbers, but flush says that they did not arrive."""
    calls = []

    def away(*_: Any, **__: Any) -> None:
        calls.append(1)
        raise MlflowException("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_batch", away)
        for step in range(3 * tracking.BATCH):
            tracker.metrics({"outage": step}, step)
        assert len(calls) == 1, "a server that is away is not asked again at every step"
        with pytest.raises(TrackingError, match="connection refused"):
            tracker.flush()
    tracker.flush()
    assert [step for step, _ in history(tracker, "outage")] == list(range(3 * tracking.BATCH))


class Away:
    """Answers nothing for the first so many questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tracker: Tracker | None, questions: int) -> None:
        self.questions, self.answers = questions, store.answers
        monkeypatch.setattr(store, "PAUSE", 0.01)
        monkeypatch.setattr(store, "answers", self.answer)
        if tracker is not None:
            for name in ("log_batch", "set_tag", "log_text", "set_terminated"):
                monkeypatch.setattr(tracker._client, name, self.call(getattr(tracker._client, name)))

    def answer(self, uri: str) -> bool:
        self.questions -= 1
        return self.questions < 0 and self.answers(uri)

    def call(self, there: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if self.questions > 0:
                raise MlflowException("connection refused")
            return there(*arguments, **named)

        return call


def test_what_cannot_be_sent_now_is_sent_when_the_server_is_back(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(monkeypatch, tracker, 3)
    tracker.metrics({"back": 1.0}, 1)
    tracker.flush()
    assert history(tracker, "back") == [(1, 1.0)] and away.questions == 0
    away.questions = 2
    tracker.tags({"when": "later"})
    assert stored(tracker).data.tags["when"] == "later"


def test_a_server_that_stays_away_does_not_end_the_run(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = Away(monkeypatch, tracker, 10**9)
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    tracker.metrics({"gone": 1.0}, 1)
    tracker.flush()
    monkeypatch.setattr(store, "PATIENCE", 60.0)
    tracker.text("a text", "text.txt")
    assert capsys.readouterr().err.count("Left out") == 2, "the second without waiting again"
    away.questions = 0
    tracker.flush()
    assert history(tracker, "gone") == [(1, 1.0)]


def test_a_trial_that_begins_while_the_server_is_away_waits(
    runs: Path, tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Away(monkeypatch, None, 3)
    trial = Tracker.start(replace(SILENT, parent=tracker.info["run_id"]), runs, "trial", {}, {})
    assert "waiting for MLflow" in capsys.readouterr().err
    trial.finish("FINISHED")


def test_artifacts_texts_and_tables(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"png")
    (tmp_path / "note.txt").write_text("note")
    tracker.artifact(tmp_path / "pictures", "pictures")
    tracker.artifact(tmp_path / "note.txt")
    tracker.text("seed: 1\n", "config.yaml")
    for iou in (0.1, 0.25):
        tracker.table([{"class": "car", "iou": iou}, {"class": "bus, bendy", "iou": None}], "per_class")
    client, run_id = MlflowClient(tracker.info["tracking_uri"]), tracker.info["run_id"]
    assert {file.path for file in client.list_artifacts(run_id)} == {
        "pictures",
        "note.txt",
        "config.yaml",
        "per_class.csv",
    }
    assert [file.path for file in client.list_artifacts(run_id, "pictures")] == ["pictures/a.png"]
    table = Path(client.download_artifacts(run_id, "per_class.csv", str(tmp_path))).read_text()
    assert table == 'class,iou\ncar,0.25\n"bus, bendy",\n'


def test_the_manifest_is_a_data_set_of_the_run_once(tracker: Tracker, tmp_path: Path) -> None:
    folder = "s3://bucket/train"
    manifest = json.dumps({"frames": 40, "split": "train", "classes": ["car"]})
    for _ in range(2):
        tracker.dataset(folder, manifest, "synthetic", "0123abcd", "train")
    [given] = stored(tracker).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("synthetic", "0123abcd")
    assert (given.dataset.source_type, json.loads(given.dataset.source)) == ("s3", {"uri": folder})
    kept = Path(tracker._client.download_artifacts(tracker.info["run_id"], "datasets", str(tmp_path)))
    assert (kept / "train" / "manifest.json").read_text() == manifest
    assert json.loads(given.dataset.profile) == {"frames": 40, "split": "train"}
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "train")]


def test_a_model_has_its_files_parameters_and_metrics(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    tracker.metrics({"label_free/miou": 0.4}, 10)
    model_id = tracker.model(
        "student", tmp_path, {"planes": (16, 24)}, {"label_free/miou": 0.4, "accuracy": 0.8}, 10
    )
    client = MlflowClient(tracker.info["tracking_uri"])
    model = client.get_logged_model(model_id)
    assert model.status == "READY" and model.params == {"planes": "(16, 24)"}
    assert {m.key: m.value for m in model.metrics} == {"label_free/miou": 0.4, "accuracy": 0.8}
    assert model.source_run_id == tracker.info["run_id"]
    assert [output.model_id for output in stored(tracker).outputs.model_outputs] == [model_id]
    assert history(tracker, "label_free/miou") == [(10, 0.4)], "the run's own point is not repeated"
    files = [file.path for file in client.list_logged_model_artifacts(model_id)]
    assert files == ["model.safetensors"]


def test_a_trial_is_a_child_of_its_sweep(runs: Path, tracker: Tracker) -> None:
    below = replace(SILENT, name="grid 0.4", parent=tracker.info["run_id"])
    child = Tracker.start(below, runs, "trial-7", {}, {})
    assert stored(child).data.tags["mlflow.parentRunId"] == tracker.info["run_id"]
    assert stored(child).info.run_name == "grid 0.4"
    again = Tracker.reopen(below, runs, child.info["run_id"])  # another process says how it ended
    again.tags({"sweep_status": "stopped"})
    again.finish("KILLED")
    assert stored(child).info.status == "KILLED" and stored(child).data.tags["sweep_status"] == "stopped"


@pytest.mark.internals
def test_system_metrics_arrive(runs: Path) -> None:
    tracker = Tracker.start(TrackingConfig(system_metrics=0.1), runs, "watched", {}, {})
    name, end = "system/cpu_utilization_percentage", time.monotonic() + 8
    while name not in stored(tracker).data.metrics and time.monotonic() < end:
        time.sleep(0.1)
    tracker.finish("FINISHED")
    assert name in stored(tracker).data.metrics


@pytest.mark.parametrize(
    "uri", ["mlruns", "localhost:5000", "file:///tmp/runs", "sqlite:///:memory:", "http://", "http://h:99999"]
)
def test_a_malformed_address_says_what_to_set(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SceneliftError, match=r"set --tracking.uri or MLFLOW_TRACKING_URI"):
        Tracker.start(TrackingConfig(uri), tmp_path, "run", {}, {})


@pytest.mark.internals
@pytest.mark.parametrize("listening", [False, True])
def test_a_server_that_does_not_answer_is_given_up(
    listening: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.TIMEOUT <= 3
    monkeypatch.setattr(store, "TIMEOUT", 1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen()
        uri = f"http://me:secret@127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TrackingError, match="no MLflow server answers") as caught:
            Tracker.start(TrackingConfig(uri), tmp_path, "run", {}, {})
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("something else entirely\n" * 100)
    with pytest.raises(TrackingError, match="not a database"):
        start(tmp_path)


def test_a_run_recorded_elsewhere_cannot_be_continued(runs: Path, tracker: Tracker) -> None:
    with pytest.raises(TrackingError, match="not recorded"):
        start(runs, run_id="0" * 32)


def test_a_deleted_run_cannot_be_continued(runs: Path) -> None:
    tracker = start(runs)
    tracker.finish("FINISHED")
    MlflowClient(tracker.info["tracking_uri"]).delete_run(tracker.info["run_id"])
    with pytest.raises(TrackingError, match="mlflow runs restore"):
        start(runs, run_id=tracker.info["run_id"])


def test_a_moved_runs_folder_is_noticed(runs: Path, tracker: Tracker) -> None:
    folder = runs / "artifacts" / "tests"
    folder.rename(runs / "elsewhere")
    try:
        with pytest.raises(TrackingError, match=re.escape(str(folder))):
            start(runs)
    finally:
        (runs / "elsewhere").rename(folder)


def test_which_address_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert resolve(None, tmp_path) == "http://server:5000"
    monkeypatch.chdir(tmp_path)
    assert resolve("sqlite:///here.db", tmp_path / "runs") == f"sqlite:///{tmp_path}/here.db"


def test_the_commit_is_that_of_the_repository_that_tracks_the_file(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    file = tmp_path / "code.py"
    file.write_text("a = 1\n")
    assert provenance._git(file) == {}
    git("init", "-q")
    assert provenance._git(file) == {}, "a file the repository does not track"
    git("add", "code.py")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")
    assert provenance._git(file) == {"mlflow.source.git.commit": commit, "git.dirty": "False"}
    file.write_text("a = 2\n")
    assert provenance._git(file)["git.dirty"] == "True"
