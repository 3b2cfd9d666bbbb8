"""A sweep of a real trainable on a tiny world: its trials train by Ray Train and are judged on held-out scenes."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from scenelift.config.files import load
from scenelift.errors import DataError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.points.config import VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.runs.folder import Run
from scenelift.runs.task import trial_config
from scenelift.teachers.config import TeacherConfig
from scenelift.train.checkpoints import Checkpoints
from scenelift.tune import command
from scenelift.tune.config import SweepConfig
from scenelift.tune.search import Choice
from sweeps.loss_weights import SWEEP
from trainables.common.config import SegmentationData
from trainables.common.segmentation import MIOU
from trainables.distill import task as distill
from trainables.distill.config import PRESETS, DistillConfig


def _unlabeled(train: str, folder: Path) -> str:
    """The shards, with a manifest that says that they have no labels."""
    copy = folder / "unlabeled"
    shutil.copytree(train, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(
        json.dumps(manifest | {"about": manifest["about"] | {"labels": None}})
    )
    return str(copy)


class StopsTheFirst(FIFOScheduler):
    """Stops the first trial when it first reports."""

    first: str | None = None

    def on_trial_result(self, tune_controller: object, trial: Trial, result: dict[str, Any]) -> str:
        self.first = self.first or trial.trial_id
        return TrialScheduler.STOP if trial.trial_id == self.first else TrialScheduler.CONTINUE


@pytest.mark.ray
def test_trials_are_ordinary_runs_that_never_see_the_test_scenes(
    tiny_world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is stopped in its first epoch; the second has its process."""
    preset = PRESETS["synthetic"]
    train, test = map(str, tiny_world)
    config = replace(
        preset,
        data=SegmentationData(train, test),
        teacher=TeacherConfig(weights="random", image_size=(28, 48)),
        student=StudentConfig(VoxelConfig(1.0, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,))),
        loop=replace(preset.loop, epochs=9, batch=2, log_every=1),
        run=RunConfig(storage=str(tmp_path)),
    )
    with pytest.raises(DataError, match="cannot be measured"):
        trial_config(
            distill.DistillTask, replace(config, data=SegmentationData(_unlabeled(train, tmp_path))), 2, MIOU
        )
    monkeypatch.setattr(Choice, "scheduler", lambda *_: StopsTheFirst())
    settings = SweepConfig(trials=2, search="random", holdout_every=2, early_stopping=False, name="sweep")
    folder = command.run(SWEEP, settings, config)
    with (folder / "ranking.csv").open() as file:
        row, stopped = csv.DictReader(file)
    assert (stopped["status"], stopped["epochs"], stopped["preset"]) == ("stopped", "1", "True")
    left = Run(folder / "trials" / stopped["trial"])
    assert left.status == "stopped" and Checkpoints(left.checkpoints).latest(), "it ended in order"
    assert row["status"] == "finished"
    run = Run(folder / "trials" / row["trial"])
    epochs = [event["values"] for event in run.history() if event["kind"] == "epoch"]
    assert [values["epoch"] for values in epochs] == list(range(1, 10))
    assert float(row["validation/miou"]) == pytest.approx(epochs[-1]["validation/miou"])
    assert -1 <= epochs[-1]["validation/agreement"] <= 1
    made = load(DistillConfig, run.folder / "config.yaml")
    assert made.data.test is None and made.validation.holdout_every == 2
    assert not any(
        "label_free" in name for name in json.loads((run.folder / "result.json").read_text())["metrics"]
    )
    best = load(DistillConfig, folder / "best.yaml")
    assert replace(best, loss=config.loss) == config, "its own data and nothing held out"
