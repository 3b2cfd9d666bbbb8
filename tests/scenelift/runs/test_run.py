"""A run in MLflow, its preset and name; what it records of lost workers, killed drivers and the bottleneck."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from scenelift.runs.config import RunConfig
from scenelift.runs.experiment import Experiment, experiment
from scenelift.runs.folder import Run
from scenelift.tracking.dashboard import COLUMNS
from scenelift.train.config import LoopConfig
from tests.made.run_config import LeastConfig


@dataclass(frozen=True)
class Config:
    value: int = 3


class Recorder:
    """Stands for MLflow: keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.sent.append((step, values))

    def flush(self) -> None:
        pass


def following(folder: Path, resume: bool = False) -> tuple[Experiment, Any]:
    run = Run.open("distill", Config(), RunConfig("a", str(folder), resume))
    recorder: Any = Recorder()
    return Experiment(run, recorder, {}, lambda values: None), recorder


def start(step: int, workers: int = 2, rounds: int = 1) -> dict[str, Any]:
    return {
        "kind": "start",
        "step": step,
        "steps": 100,
        "workers": workers,
        "rounds": rounds,
        "device": "CPU",
    }


def metrics(step: int, wait: float = 0.0, seconds: float = 1.0) -> dict[str, Any]:
    values = {"loss/total": 1.0, "data_wait": wait}
    return {"kind": "metrics", "step": step, "seconds": seconds, "values": values}


def events(following: Experiment) -> list[tuple[Any, ...]]:
    """(kind, step that was reached, step it goes on from, repeated steps) of everything that went wrong."""
    return [
        (event["kind"], event["reached"], event["step"], event["repeated"])
        for event in following.run.history()
        if "repeated" in event
    ]


def test_what_was_repeated_is_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _ = following(tmp_path)
    for event in (start(0), metrics(10), start(8), metrics(14), start(12, 1, 2), metrics(20)):
        first.listen(event)
    assert events(first) == [("lost", 10, 8, 2), ("resized", 14, 12, 2)]
    again, _ = following(tmp_path, resume=True)
    again.listen(start(16))
    assert events(again)[2:] == [("resumed", 20, 16, 4)]
    said = capsys.readouterr().err
    assert "a worker was lost at step 10; going on from step 8: 2 steps repeated" in said
    assert "workers changed from 2 to 1 at step 14" in said and "a step takes 2 rounds" in said
    assert "the run was left at step 20; going on from step 16: 4 steps repeated" in said


def test_mlflow_gets_what_a_killed_driver_could_not_send(tmp_path: Path) -> None:
    first, _ = following(tmp_path)
    found = {"epoch": 1, "validation/miou": 0.5}
    for event in (start(0), metrics(10), {"kind": "epoch", "step": 10, "values": found}):
        first.listen(event)
    _, recorder = following(tmp_path, resume=True)
    assert recorder.sent == [(10, {"loss/total": 1.0, "data_wait": 0.0}), (10, {"validation/miou": 0.5})]


@pytest.mark.parametrize(
    ("waits", "share", "side"),
    [((0.5, 0.0), 0.125, "data loading"), ((0.1, 0.0), 0.025, "computing")],
)
def test_the_bottleneck_is_named(
    waits: tuple[float, float],
    share: float,
    side: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By time: the second span is three times as long as the first."""
    one, _ = following(tmp_path)
    for event in (start(0), metrics(10, waits[0], 1.0), metrics(20, waits[1], 3.0)):
        one.listen(event)
    one.trained()
    assert one.result["data_wait"] == pytest.approx(share)
    assert f"{100 * share:.0f} % of the training: {side} was the bottleneck" in capsys.readouterr().err


def test_an_object_store_that_was_too_small_is_said_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = following(tmp_path)
    one.listen({"kind": "spilled", "step": 100, "bytes": 1_500_000})
    assert "object store was full: 1.5 MB went to disk and back" in capsys.readouterr().err
    assert one.run.history()[-1]["bytes"] == 1_500_000


def test_a_checkpoint_that_was_not_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, _ = following(tmp_path)
    one.listen(start(0))
    one.listen({"kind": "unwritten", "step": 10, "why": "disk is full"})
    assert (
        "step 10: a checkpoint was not written, the next one is tried: disk is full"
        in capsys.readouterr().err
    )


PRESETS = {"short": LeastConfig(LoopConfig(epochs=1)), "long": LeastConfig(LoopConfig(epochs=99))}


@pytest.fixture
def recorded(tmp_path: Path, tracked: Callable[[Path], Path]) -> Any:
    """Makes a run of nothing, and returns its folder's name and what MLflow has of it."""
    tracked(tmp_path)

    def record(loop: LoopConfig, name: str | None) -> tuple[str, MlflowRun]:
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


@pytest.mark.parametrize(("code", "status", "shown"), [(0, None, "RUNNING"), (1, "failed", "FAILED")])
def test_a_trial_that_tune_ends_is_recorded_by_the_sweep(
    tmp_path: Path, tracked: Callable[[Path], Path], code: int, status: str | None, shown: str
) -> None:
    """Tune raises SystemExit(0) where the trial reports; another exit is a failure."""
    tracked(tmp_path)
    tried = experiment("train", LeastConfig(run=RunConfig("a", str(tmp_path))), {}, PRESETS, ())
    made = tried.__enter__()
    with pytest.raises(SystemExit), contextlib.ExitStack() as stack:
        stack.push(tried)
        raise SystemExit(code)
    info = made.tracker.info
    assert made.run.status == status
    assert MlflowClient(info["tracking_uri"]).get_run(info["run_id"]).info.status == shown
