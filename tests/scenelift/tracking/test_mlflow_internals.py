"""What we use of MLflow's private parts is still there and does what we need it for: run after an upgrade.

Other tests of this room carry the marker too. What the dashboard's view looks like in a browser, no test says.
"""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from scenelift.tracking import mlflow_internals

pytestmark = pytest.mark.internals


def test_the_installed_mlflow_is_the_one_that_was_tested() -> None:
    assert mlflow.__version__.startswith(f"{mlflow_internals.TESTED_MLFLOW}.")


def test_a_run_says_at_which_step_each_metric_ended(tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = client.create_run(client.create_experiment("x")).info.run_id
    client.log_batch(run_id, metrics=[Metric("a", 0.5, 0, step) for step in (1, 7, 3)])
    [point] = mlflow_internals.last_points(client.get_run(run_id))
    assert (point.key, point.step) == ("a", 7)


def test_the_pages_still_know_the_keys_that_a_view_is_made_of() -> None:
    """The scripts of MLflow's pages hold them as text; their meaning is not checked."""
    pages = Path(mlflow.__file__).parent / "server" / "js" / "build"
    text = "".join(path.read_text() for path in pages.rglob("*.js"))
    for word in ("sharedViewState", "viewStateShareKey", "selectedColumns", "compareRunCharts", "deflate;"):
        assert word in text, word
