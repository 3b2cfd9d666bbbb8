"""A method outside of the repository is trained, scored, found by tables and ready to be swept: the files of
docs/your_own_method.md as they stand, in a folder of their own."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from scenelift.runs import history
from scenelift.runs.config import RunConfig
from scenelift.runs.task import trial_config
from scenelift.tracking import store
from scenelift.tune import command
from scenelift.tune import space as spaces
from trainables.common.config import SegmentationData

PAGE = Path(__file__).parents[1] / "docs" / "your_own_method.md"


@pytest.fixture
def outside(outside_folder: Path) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The page's two files, imported from another folder."""
    method, sweep = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in method.splitlines() if line.strip()]) <= 60
    (outside_folder / "smooth.py").write_text(method)
    (outside_folder / "smooth_sweep.py").write_text(sweep)
    sys.path.insert(0, str(outside_folder))
    modules = importlib.import_module("smooth"), importlib.import_module("smooth_sweep")
    yield modules
    sys.path.remove(str(outside_folder))
    for module in modules:
        del sys.modules[module.__name__]


def test_a_method_outside_is_trained_scored_and_searched(
    outside: tuple[ModuleType, ModuleType], tiny_world: tuple[Path, Path], tmp_path: Path
) -> None:
    smooth, sweep = outside
    base = smooth.PRESETS["synthetic"]
    train, test = map(str, tiny_world)
    config = replace(
        base,
        data=SegmentationData(train, test),
        loop=replace(base.loop, epochs=1),
        tracking=replace(base.tracking, system_metrics=0),
        run=RunConfig("first", str(tmp_path / "runs")),
    )
    smooth.run(config)
    result = json.loads((tmp_path / "runs/first/result.json").read_text())
    assert result["status"] == "finished" and 0 <= result["metrics"]["labeled/miou"] <= 1
    finished, _ = history.read(store.resolve(None, tmp_path / "runs"))
    assert [run.tags["trainable"] for run in finished] == ["smooth"]

    settings, given, _ = command.parse(sweep.SWEEP, ["--trials", "2", "--data.train", train])
    assert settings.trials == 2 and spaces.checked(sweep.SWEEP.space(given), given)
    trial = trial_config(sweep.SWEEP.load(), given, 2, "validation/miou")
    assert trial.validation.holdout_every == 2 and trial.data.test is None
