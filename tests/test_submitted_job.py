"""A distillation that was sent to several machines by `ray job submit`, one of which is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks import submitted
from benchmarks.machines import Machines
from scenelift.runs.folder import Run


@pytest.fixture
def machines(ray_session: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # as docs/cluster.md; the token is that of the tests' Ray
    made = Machines(3)
    yield made
    made.close()


@pytest.mark.ray
def test_a_submitted_training_loses_a_machine_and_goes_on(
    machines: Machines, tiny_world: tuple[Path, Path], tmp_path: Path
) -> None:
    """The library travels with the job, its status is the run's, its log is for people, MLflow has one run."""
    run = Run(tmp_path / "runs" / "lost")
    said = submitted.send(machines, submitted.command(*tiny_world, run, epochs=30), run, lose=True)
    result = submitted.result(run)
    assert result["status"] == "finished" and result["workers"] == 2
    (lost,) = (event for event in run.history() if event["kind"] == "lost")
    assert lost["repeated"] <= submitted.EVERY
    client = MlflowClient(result["mlflow"]["tracking_uri"])
    (recorded,) = client.search_runs([client.get_experiment_by_name("distill").experiment_id])
    assert recorded.info.status == "FINISHED"
    assert f"a worker was lost at step {lost['reached']}" in said and "\nstudent " in said
    assert "Traceback" not in said and "(RayTrainWorker pid=" not in said
