"""Protects the dashboard: every experiment of ours, and no other, opens with columns that fit its runs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import zlib
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from scenelift.errors import ClusterError, ConfigError, TrackingError
from scenelift.tracking import dashboard
from scenelift.tracking.client import Tracker
from scenelift.tracking.config import DashboardConfig, TrackingConfig

COLUMNS = ["validation/miou", "label_free/miou", "labeled/miou", "teacher/miou"]
DECLARED = {dashboard.COLUMNS: json.dumps({"metrics": COLUMNS, "tags": ["teacher", "protocol"]})}
"""What a task says of its runs."""
SCORES = {"label_free/miou": 0.5, "label_free/iou/car": 0.4, "teacher/miou": 0.4, "loss/total": 1.0}


def run_of(params: dict[str, Any], metrics: dict[str, float]) -> Run:
    info = RunInfo("a", "1", "me", "FINISHED", 0, 1, "active")
    texts = [Param(key, str(value)) for key, value in params.items()]
    tags = [RunTag(key, value) for key, value in DECLARED.items()]
    return Run(info, RunData([Metric(key, value, 0, 1) for key, value in metrics.items()], texts, tags))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, mlflow_tables: Path) -> Path:
    """Two experiments of ours and one of somebody else's."""
    runs = tmp_path_factory.mktemp("runs")
    shutil.copy(mlflow_tables, runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for experiment, metrics in (("distill", SCORES), ("pretrain", {"loss/total": 1.0})):
            config = TrackingConfig(experiment=experiment, system_metrics=0)
            tracker = Tracker.start(
                config, runs, "a", {"loop.epochs": 3}, {"trainable": experiment, **DECLARED}
            )
            tracker.metrics(metrics, 1)
            tracker.finish("FINISHED")
        client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
        client.create_run(client.create_experiment("theirs"))
    return runs


@pytest.fixture
def runs(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(recorded / "mlflow.db", tmp_path)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What the command would have become."""
    calls: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda path, words, environment: calls.append((words, environment)))
    return calls


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((dashboard.HOST, 0))
        return int(probe.getsockname()[1])


def unpacked(tag: str) -> dict[str, Any]:
    """The state of a page as MLflow's own code reads it from the tag."""
    envelope = json.loads(tag)
    assert isinstance(envelope["name"], str) and isinstance(envelope["createdAt"], int)
    kind, _, packed = envelope["state"].partition(";")
    assert kind == "deflate"
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


@pytest.mark.internals
def test_experiments_of_ours_have_a_view_and_a_link(
    runs: Path, served: list[tuple[list[str], dict[str, str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    dashboard.run(DashboardConfig(str(runs), port=port))
    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    said = capsys.readouterr().out
    for name in ("distill", "pretrain"):
        experiment = client.get_experiment_by_name(name)
        assert "selectedColumns" in unpacked(experiment.tags[dashboard.TAG])
        page = f"#/experiments/{experiment.experiment_id}/runs?"
        assert re.search(rf"^{name} +http://127.0.0.1:{port}/{re.escape(page)}.*=scenelift$", said, re.M)
    assert dashboard.TAG not in client.get_experiment_by_name("theirs").tags
    assert "theirs" not in said
    [(words, environment)] = served
    assert words[2:4] == ["mlflow", "server"] and words[words.index("--port") + 1] == str(port)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{runs}/mlflow.db"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_server_is_pointed_at_and_not_served(
    runs: Path,
    served: list[tuple[list[str], dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host:5000/")
    monkeypatch.setattr(dashboard.store, "require", lambda uri: None)
    local = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    monkeypatch.setattr(mlflow, "MlflowClient", lambda uri: local)
    dashboard.run(DashboardConfig(str(runs)))
    said = capsys.readouterr().out
    assert "https://host:5000/#/experiments/" in said and "secret" not in said
    assert not served


def test_mistakes_are_answered_before_anything_is_served(
    runs: Path, tmp_path_factory: pytest.TempPathFactory, served: list[Any]
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(TrackingError, match=r"no runs are recorded .*trainables\.distill"):
        dashboard.run(DashboardConfig(str(empty), port=free_port()))
    assert not list(empty.iterdir()), "looking for runs leaves no database behind"
    with socket.socket() as other:
        other.bind((dashboard.HOST, 0))
        other.listen()
        with pytest.raises(ClusterError, match="make dashboard PORT="):
            dashboard.run(DashboardConfig(str(runs), port=other.getsockname()[1]))
    with pytest.raises(ConfigError, match=r"port must be .* 65535, not 99999"):
        dashboard.run(DashboardConfig(str(runs), port=99999))
    assert not served


@pytest.mark.parametrize(
    ("metrics", "order", "ascending"),
    [
        (SCORES, "metrics.`label_free/miou`", False),
        ({"labeled/miou": 0.5, "loss/total": 1.0}, "metrics.`labeled/miou`", False),
        ({"validation/miou": 0.5, "label_free/miou": 0.4}, "metrics.`validation/miou`", False),
        ({"loss/total": 1.0}, "metrics.`loss/total`", True),
        ({}, "attributes.start_time", False),
    ],
)
def test_the_best_run_comes_first(metrics: dict[str, float], order: str, ascending: bool) -> None:
    state = dashboard.state([run_of({}, metrics), run_of({}, {})])
    assert (state["orderByKey"], state["orderByAsc"]) == (order, ascending)


def test_every_column_has_its_place_and_its_width() -> None:
    state = dashboard.state([run_of({"loop.epochs": epochs}, SCORES) for epochs in (1, 2)])
    columns = state["selectedColumns"]
    assert "params.`loop.epochs`" in columns and len(columns) == len(set(columns))
    assert [column for column in state["columnOrder"] if column in columns] == columns
    assert state["columnWidths"].keys() == set(state["columnOrder"])
    assert all(
        re.fullmatch(r"(attributes|metrics|params|tags)\.`[^`]+`", key) for key in state["columnWidths"]
    )


def test_settings_are_those_in_which_the_runs_differ() -> None:
    same = {"loss.grid": 0.1, "new.in.some": 1}
    runs = [
        run_of(same | {"loop.epochs": 1, "loss.surest": 0.5, "loop.seed": 0, "run.name": "a"}, {}),
        run_of(same | {"loop.epochs": 2, "loss.surest": 0.5, "loop.seed": 1, "run.name": "b"}, {}),
        run_of({"loss.grid": 0.1, "loop.epochs": 3, "loss.surest": 0.7}, {}),
    ]
    assert dashboard.differing(runs) == {"loop.epochs": {"1", "2", "3"}, "loss.surest": {"0.5", "0.7"}}
    wide = [run_of({f"key.{i}": j % (i + 1) for i in range(40)}, {}) for j in range(40)]
    assert list(dashboard.differing(wide)) == [f"key.{i}" for i in range(39, 29, -1)]


def test_every_chart_is_in_a_section_and_no_metric_is_drawn_twice() -> None:
    params = ({"loss.grid": 0.1, "start": "None"}, {"loss.grid": 0.2, "start": "3"})
    state = dashboard.state([run_of(each, SCORES | {"learning_rate": 0.1}) for each in params])
    sections = [section["uuid"] for section in state["compareRunSections"]]
    charts = state["compareRunCharts"]
    assert {chart["metricSectionId"] for chart in charts} <= set(sections)
    assert sections == ["scores", "loss", "settings", "label_free/iou"], "none that would be empty"
    bars = [chart["metricKey"] for chart in charts if chart["type"] == "BAR"]
    assert sorted(bars) == ["label_free/iou/car", "label_free/miou", "teacher/miou"], "curves are not bars"
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    [axes] = [chart["selectedParams"] for chart in charts if chart["type"] == "PARALLEL"]
    assert axes == ["loss.grid"], "MLflow would leave out the run whose start is a number, or the other"


def test_a_view_of_many_runs_fits_every_server() -> None:
    """Older ones take 5000 characters of a tag."""
    scores = {f"{kind}/iou/class_{i}": 0.1 for kind in ("label_free", "teacher") for i in range(30)} | SCORES
    runs = [run_of({f"some.rather_long.setting_{i}": j for i in range(100)}, scores) for j in range(200)]
    assert len(dashboard.view(runs)) < 5000
