"""Protects sweeps as a user meets them: what is searched, what survives a kill, what each kind of failure says."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution, FloatDistribution

from scenelift.cluster import resources
from scenelift.errors import ClusterError, ConfigError
from scenelift.runs.folder import Run
from scenelift.train.checkpoints import Checkpoints
from scenelift.tune import command
from scenelift.tune.config import SweepConfig
from tests.made import toy_sweep as toy

_ROOT = Path(__file__).resolve().parents[2]


def config(folder: Path, **changes: Any) -> toy.ToyConfig:
    base = toy.ToyConfig(**changes)
    return dataclasses.replace(base, run=dataclasses.replace(base.run, storage=str(folder)))


def ranking(folder: Path) -> list[dict[str, str]]:
    with (folder / "ranking.csv").open() as file:
        return list(csv.DictReader(file))


def mlflow_runs(folder: Path) -> dict[str, Any]:
    """Status of all MLflow runs beside the sweep by name, and how many there are of each name."""
    client = MlflowClient(f"sqlite:///{folder.parent}/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert len({run.info.run_id for run in parents}) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    return {"parent": parents[0], "children": children, "client": client}


@pytest.mark.ray
def test_every_kind_of_failure_ends_as_a_user_would_hope(ray_session: None, tmp_path: Path) -> None:
    faults = ["none", "raise", "once", "nan", "silent"]
    sweep = toy.sweep(lambda config: {"fault": CategoricalDistribution(faults)})
    folder = command.run(
        sweep, SweepConfig(search="grid", early_stopping=False, name="faults"), config(tmp_path)
    )
    rows = {row["fault"]: row for row in ranking(folder)}
    assert {fault: row["status"] for fault, row in rows.items()} == {
        "none": "finished",
        "raise": "failed",
        "once": "finished",
        "nan": "failed",
        "silent": "failed",
    }
    assert rows["raise"]["error"] == "TrainingError: the toy broke"
    assert "validation/miou is not a number" in rows["nan"]["error"]
    assert "never reported validation/miou, only" in rows["silent"]["error"]
    assert "validation/agreement" in rows["silent"]["error"]
    for row in rows.values():
        run = Run(folder / "trials" / row["trial"])
        tries = [event for event in run.history() if event["kind"] == "begun"]
        assert len(tries) == (1 if row["fault"] == "none" else 2)
    tracked = mlflow_runs(folder)
    assert tracked["parent"].info.status == "FINISHED"
    wrong = {run.data.params["fault"] for run in tracked["children"] if run.info.status == "FAILED"}
    assert wrong == {"raise", "nan", "silent"} and len(tracked["children"]) == len(faults)
    fallen = next(run for run in tracked["children"] if run.data.params["fault"] == "raise")
    text = tracked["client"].download_artifacts(fallen.info.run_id, "error.txt", str(tmp_path))
    error = Path(text).read_text()
    assert "in _misbehave" in error and error.endswith("TrainingError: the toy broke\n")


@pytest.mark.ray
def test_the_worst_trial_goes_on_from_the_best_ones_weights(ray_session: None, tmp_path: Path) -> None:
    base = config(tmp_path)
    base = dataclasses.replace(base, loop=dataclasses.replace(base.loop, epochs=8))
    sweep = toy.sweep(lambda config: {"x": FloatDistribution(-2, 2)}, shared=4)
    folder = command.run(sweep, SweepConfig(search="pbt", trials=4, name="pbt"), base)
    assert all(row["status"] == "finished" for row in ranking(folder))
    tracked = {run.info.run_id: run for run in mlflow_runs(folder)["children"]}
    reached: dict[str, dict[int, float]] = {}
    for name, run in toy.runs_of(folder).items():
        epochs = [event for event in run.history() if event["kind"] == "epoch"]
        reached[name] = {event["step"]: event["values"]["validation/miou"] for event in epochs}
        assert sorted(reached[name]) == [5, 6, 7, 8], "shared epochs are trained once"
    best, worst = (pick(reached, key=lambda name: reached[name][6]) for pick in (max, min))
    (x,) = [row["x"] for row in ranking(folder) if row["trial"] == worst]
    grown = reached[best][6] + (1 - (float(x) - 0.7) ** 2) / 8
    assert reached[worst][7] == pytest.approx(grown), (
        "who is last after three quarters has the best's weights"
    )
    record = tracked[Run(folder / "trials" / worst).mlflow_run or ""].data
    assert record.params["x"] != x == record.tags["resumed/x"], (
        "MLflow keeps the first and says what x became"
    )


@pytest.mark.ray
def test_epochs_that_all_trials_share_are_trained_once(ray_session: None, tmp_path: Path) -> None:
    sweep = toy.sweep(lambda config: {"x": FloatDistribution(0, 1)}, shared=3)
    settings = SweepConfig(search="random", trials=3, name="shared", early_stopping=False)
    folder = command.run(sweep, settings, config(tmp_path))
    beginning = Run(folder / "beginning")
    assert beginning.status == "finished"
    assert [event["step"] for event in beginning.history() if event["kind"] == "epoch"] == [1, 2, 3]
    begun = Checkpoints(beginning.checkpoints).latest()
    assert begun is not None
    for row in ranking(folder):
        history = Run(folder / "trials" / row["trial"]).history()
        assert [event["step"] for event in history if event["kind"] == "epoch"] == [4], "the rest alone"
        last = (1 - (float(row["x"]) - 0.7) ** 2) / 4
        assert float(row["validation/miou"]) == pytest.approx(begun.score + last)
    assert len(mlflow_runs(folder)["children"]) == 4, "the trials, and what they began with"


@pytest.mark.ray
def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.made.toy_sweep"]
    path = os.pathsep.join(map(str, (_ROOT, _ROOT / "platform")))
    environment = os.environ | {"PYTHONPATH": path}
    first = subprocess.Popen(
        [*command, "--trials", "6", "--seconds", "0.5", "--name", "long", "--max_concurrent", "2"],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "runs" / "long"
    deadline = time.monotonic() + 120
    while not (folder / "ranking.csv").exists() or len(ranking(folder)) < 2:
        assert first.poll() is None and time.monotonic() < deadline, first.communicate()[1]
        time.sleep(0.2)
    before = {row["trial"]: row for row in ranking(folder)}
    time.sleep(1.5)  # Tune writes its state every second: of what ended since, it may know nothing
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = subprocess.run(
        [*command, "--resume", "long"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert again.returncode == 0, again.stderr
    after = {row["trial"]: row for row in ranking(folder)}
    assert len(after) == 6 and before.keys() <= after.keys()
    for name, row in before.items():
        assert after[name]["validation/miou"] == row["validation/miou"]
        assert len([e for e in Run(folder / "trials" / name).history() if e["kind"] == "begun"]) == 1
    children = mlflow_runs(folder)["children"]
    assert len(children) == 6 and {run.info.status for run in children} <= {"FINISHED", "KILLED"}
    best = max(
        (row for row in after.values() if row["status"] == "finished"),
        key=lambda r: float(r["validation/miou"]),
    )
    replay = yaml.safe_load((folder / "best.yaml").read_text())
    assert replay["x"] == float(best["x"]) and replay["validation"]["holdout_every"] == 0
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "parallel_coordinates.png",
        "slices.png",
    }


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"y": FloatDistribution(0, 1)}, "the space has y, which the config does not"),
        ({"loop.epoch": CategoricalDistribution([1])}, "did you mean loop.epochs"),
        ({"loop.epochs": CategoricalDistribution([4, 0])}, "loop.epochs must be at least 1"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_begins(
    space: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        command.run(toy.sweep(lambda config: space), SweepConfig(), config(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_a_grid_of_ranges_and_a_name_that_is_taken_are_refused(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a grid needs lists of values, and x are ranges"):
        command.run(toy.sweep(), SweepConfig(search="grid", name="grid"), config(tmp_path))
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match="--resume taken"):
        command.run(toy.sweep(), SweepConfig(name="taken"), config(tmp_path))
    with pytest.raises(ClusterError, match="fit at once, not 99"):
        command.run(toy.sweep(), SweepConfig(trials=99, max_concurrent=99), config(tmp_path))


def test_what_is_given_is_not_searched(tmp_path: Path) -> None:
    settings, chosen, given = command.parse(
        toy.sweep(), ["--trials", "3", "--x", "0.5", "--early-stopping=false"]
    )
    assert (settings.trials, settings.early_stopping, chosen.x, given) == (3, False, 0.5, ("x",))
    with pytest.raises(ConfigError, match="nothing is left"):
        command.run(toy.sweep(), settings, config(tmp_path), ("x", "shape"))
    with pytest.raises(ConfigError, match="takes no other options"):
        command.parse(toy.sweep(), ["--resume", "a", "--x", "0.5"])
    with pytest.raises(ConfigError, match=r"no sweep 'gone' under runs to go on with"):
        command.parse(toy.sweep(), ["--resume", "gone"])


@pytest.mark.ray
def test_trials_side_by_side_leave_reading_its_cpus(ray_session: None) -> None:
    total = int(ray.cluster_resources()["CPU"])
    for workers in range(1, 5):
        for most in range(1, 9):
            trials, cpus = resources.side_by_side(workers, None, 0.0, 1.0, most)
            assert trials <= most and trials * (workers * cpus + 1) <= total + 1e-6
            if trials:
                more = trials + 1
                fits = more * (workers * 1 + 1) <= total and more * workers <= resources.cores()
                assert trials == most or not fits
