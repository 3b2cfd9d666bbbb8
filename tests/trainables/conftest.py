"""Whole jobs keep their runs in `runs` of the test's folder, or in `run_storage` of their module."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _tracked(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """MLflow's tables are there already."""
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("tracked")(tmp_path / "runs")


@pytest.fixture(scope="module")
def run_storage(mlflow_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, with MLflow's tables, for the trained runs that the tests of a module share."""
    folder = tmp_path_factory.mktemp("shared") / "runs"
    folder.mkdir()
    shutil.copy(mlflow_tables, folder / "mlflow.db")
    return folder
