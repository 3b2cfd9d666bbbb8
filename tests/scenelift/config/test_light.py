"""Settings load nothing heavy, so that a command answers to `--help` and to a mistake at once."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scenelift.config.test_constraints import MODULES

pytestmark = pytest.mark.slow  # each starts processes

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "ray", "open_clip", "matplotlib", "mlflow", "viser", "numpy", "pyarrow", "scipy")
IMPORTS = """
import importlib, json, sys
said = {}
for name in sys.argv[2:]:
    importlib.import_module(name)
    said[name] = [heavy for heavy in json.loads(sys.argv[1]) if heavy in sys.modules]
print(json.dumps(said))
"""
COMMAND = """
import contextlib, io, json, runpy, sys
heavy, module, *lines = map(json.loads, sys.argv[1:])
answers = []
for line in lines:
    sys.argv = [module, *line]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            answers.append([ended.code, out.getvalue(), err.getvalue()])
print(json.dumps([answers, [name for name in heavy if name in sys.modules]]))
"""
WRONG_PATHS = {
    "trainables.distill": ["--data.train", "/nowhere"],
    "trainables.evaluate": ["--student", "/nowhere"],
    "trainables.explore": ["--data", "/nowhere"],
    "trainables.predict": ["--student", ".", "--data", "/nowhere"],
    "trainables.finetune": ["--start", "/nowhere"],
    "trainables.ground": ["--data.train", "/nowhere"],
    "trainables.phrases": ["--data.test", "/nowhere"],
    "trainables.pretrain": ["--data.train", "/nowhere"],
    "trainables.table": ["--config", "/nowhere"],
    "trainables.teacher": ["--root", "/nowhere"],
    "datasets.check": ["--root", "/nowhere"],
    "datasets.shard": ["--root", "/nowhere"],
    "datasets.shard_captions": ["--root", "/nowhere", "--regions", ".", "--classes", "."],
    "datasets.shard_rooms": ["--root", "/nowhere"],
    "datasets.synthetic": ["--config", "/nowhere"],
    "datasets.synthetic_images": ["--config", "/nowhere"],
    "datasets.synthetic_rooms": ["--config", "/nowhere"],
}
"""Command -> options with a path that is not there."""


def printed(code: str, *args: str) -> Any:
    """What a new Python process prints, as JSON."""
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": "", "SCENELIFT_GROWS_TO": "[]"}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, env=path, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_settings_load_nothing_heavy() -> None:
    loaded = printed(IMPORTS, json.dumps(HEAVY), *MODULES)
    assert loaded == {key: [] for key in MODULES} and len(loaded) > 20


@pytest.mark.parametrize("module", WRONG_PATHS)
def test_a_command_answers_before_it_loads_its_work(module: str) -> None:
    lines = (["--help"], ["--no.such.key", "3"], ["no_such_preset"], WRONG_PATHS[module])
    answers, heavy = printed(COMMAND, *map(json.dumps, (HEAVY, module, *lines)))
    assert heavy == []
    (shown, *refused) = answers
    assert shown[0] == 0 and f"python -m {module}" in shown[1]
    for (code, out, err), said in zip(refused, ("unknown key", "unknown preset", "/nowhere"), strict=True):
        assert code == 1 and not out and err.startswith("error: ") and said in err and err.count("\n") == 1


def test_more_workers_than_fit_are_refused_before_there_is_a_ray() -> None:
    lines = ["--scale.workers", "1000"], ["--scale.workers", "1", "--scale.cpus", "1000"]
    code = COMMAND.replace(
        "import contextlib", "import os; del os.environ['SCENELIFT_GROWS_TO']\nimport contextlib"
    )
    answers, heavy = printed(code, *map(json.dumps, (HEAVY, "trainables.distill", *lines)))
    assert heavy == []
    (first, *_), (second, *_) = ([err] for _, _, err in answers)
    assert "1000 workers of 0.5 CPU do not fit: Ray has" in first and "so lower scale.workers to" in first
    assert "1 workers of 1000 CPU do not fit" in second


def test_a_start_of_distill_loads_no_data_set_and_no_ray_tracer() -> None:
    """Until the data is accepted; what scoring and drawing take is imported when it is their turn."""
    modules = "trainables.distill.__main__, trainables.distill.task, json, sys"
    code = f"import {modules}\nprint(json.dumps(sorted(sys.modules)))"
    ours = [name for name in printed(code) if name.split(".")[0] in ("scenelift", "trainables", "datasets")]
    assert [name for name in ours if name.startswith("datasets")] == ["datasets"]
    assert len(ours) <= 60, "a start needs few modules"
