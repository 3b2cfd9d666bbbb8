"""What a run is called in MLflow, and which preset it says it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from scenelift.runs.config import RunConfig
from scenelift.runs.run import experiment
from scenelift.tracking.dashboard import COLUMNS
from scenelift.train.config import LoopConfig
from tests.made.run_config import LeastConfig

PRESETS = {"short": LeastConfig(LoopConfig(epochs=1)), "long": LeastConfig(LoopConfig(epochs=99))}


@pytest.fixture
def recorded(tmp_path: Path, tracked: Callable[[Path], Path]) -> Any:
    """Makes a run of nothing, and returns its folder's name and what MLflow has of it."""
    tracked(tmp_path)

    def record(loop: LoopConfig, name: str | None) -> tuple[str, Run]:
        config = LeastConfig(loop, run=RunConfig(name, str(tmp_path)))
        with experiment("train", config, {"dataset": "d"}, PRESETS, ("score",)) as made:
            pass
        info = made.tracker.info
        return made.run.name, MlflowClient(info["tracking_uri"]).get_run(info["run_id"])

    return record


def test_a_run_without_a_name_is_called_by_what_it_changes(recorded: Any) -> None:
    folder, run = recorded(LoopConfig(epochs=99, batch=8), None)
    assert re.fullmatch(r"train-\d{8}-\d{6}", folder)
    assert run.info.run_name == f"long loop.batch=8 ({folder})"
    wanted = {"trainable": "train", "dataset": "d", "preset": "long", "changed": "loop.batch=8"}
    assert wanted.items() <= run.data.tags.items()
    assert json.loads(run.data.tags[COLUMNS]) == {"metrics": ["score"], "tags": ["dataset"]}


def test_a_given_name_stays(recorded: Any) -> None:
    folder, run = recorded(LoopConfig(epochs=1), "mine")
    assert (folder, run.info.run_name) == ("mine", "mine")
    assert (run.data.tags["preset"], run.data.tags["changed"]) == ("short", "")
