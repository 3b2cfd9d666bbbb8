"""Whole jobs keep their runs in `runs` of the test's folder."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _tracked(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """MLflow's tables are there already."""
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("tracked")(tmp_path / "runs")
