"""A logged student is a model of MLflow: loaded, served and registered, it labels as `scenelift.load` does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

import scenelift
from scenelift.inference import flavor
from scenelift.inference.labeler import Labeler
from scenelift.tracking.client import Tracker
from scenelift.tracking.config import TrackingConfig
from tests.made.students import speaking_student

RNG = np.random.default_rng(0)
ROWS = np.concatenate([RNG.normal(0, 12, (60, 3)), RNG.uniform(0, 3, (60, 1))], 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    speaking_student().save(folder / "student")
    flavor.save(folder / "student", folder / "model")
    return folder / "model"


def test_a_loaded_model_labels_arrays_and_tables_as_the_library_does(model):
    loaded, want = mlflow.pyfunc.load_model(str(model)), Labeler(speaking_student()).predict(ROWS)
    for scan in (ROWS, ROWS.tolist(), pd.DataFrame(ROWS, columns=["x", "y", "z", "intensity"])):
        table = loaded.predict(scan)
        assert table["id"].tolist() == want.ids.tolist() and table["name"].tolist() == want.names.tolist()
        np.testing.assert_array_equal(table["confidence"], want.confidence)
    words = loaded.predict(ROWS, params={"classes": ["road"], "threshold": 0.4})
    asked = Labeler(speaking_student()).predict(ROWS, classes=["road"], threshold=0.4)
    assert words["id"].tolist() == asked.ids.tolist()


def test_nothing_of_it_is_a_pickle(model):
    assert {path.suffix for path in model.rglob("*") if path.is_file()} <= {
        "",
        ".yaml",
        ".txt",
        ".json",
        ".safetensors",
    }


def test_a_registered_student_is_loaded_by_its_alias(tmp_path, model, monkeypatch):
    tracker = Tracker.start(TrackingConfig(system_metrics=0), tmp_path, "run", {}, {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.info["tracking_uri"])
    mlflow.set_tracking_uri(tracker.info["tracking_uri"])
    places = []
    for step in (1, 2):
        logged = tracker.model("student", model, {}, {"label_free/miou": 0.5}, step)
        places.append(tracker.register(logged, "street", "champion"))
    tracker.finish("FINISHED")
    assert places == ["models:/street@champion"] * 2
    want = Labeler(speaking_student()).predict(ROWS).ids
    for place in (places[0], "models:/street/1"):
        assert np.array_equal(scenelift.load(place, "cpu").predict(ROWS).ids, want)
    assert mlflow.pyfunc.load_model(places[0]).predict(ROWS)["id"].tolist() == want.tolist()
    with pytest.raises(scenelift.SceneliftError, match=r"models:/nobody@x cannot be fetched"):
        scenelift.load("models:/nobody@x")


@pytest.mark.slow
def test_a_served_model_answers_a_scan(model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "-m",
        "mlflow",
        "models",
        "serve",
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--workers",
        "1",
    ]
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # MLflow starts uvicorn from there
    server = subprocess.Popen(
        [sys.executable, *command, "--port", str(port), "--model-uri", str(model)],
        env={**os.environ, "PYTHONPATH": str(Path("platform").absolute()), "PATH": tools},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        body = json.dumps({"inputs": ROWS.tolist()}).encode()
        answer = _post(f"http://127.0.0.1:{port}/invocations", body, server)
        ids = [row["id"] for row in json.loads(answer)["predictions"]]
        assert ids == Labeler(speaking_student()).predict(ROWS).ids.tolist()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _post(url: str, body: bytes, server: subprocess.Popen[bytes]) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    for _ in range(240):
        assert server.poll() is None, "it ended"
        try:
            with urllib.request.urlopen(request) as response:
                return response.read()
        except OSError:
            time.sleep(0.5)
    raise AssertionError("it never answered")
