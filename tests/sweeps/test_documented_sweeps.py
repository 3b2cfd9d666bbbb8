"""Every sweep that README.md and docs/sweeps.md tell a user to run is one that can be run."""

import ast
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest

from scenelift.tune import command
from scenelift.tune import space as spaces
from scenelift.tune.config import Sweep
from tests.scenelift.config.test_light import COMMAND as ANSWERS
from tests.scenelift.config.test_light import printed

REPOSITORY = Path(__file__).parents[2]
SWEEPS = REPOSITORY / "docs" / "sweeps.md"
COMMAND = re.compile(r"python -m sweeps\.(\w+) ?([^`\n]*)")


def documented() -> list[tuple[str, str]]:
    text = "".join(page.read_text() for page in (REPOSITORY / "README.md", SWEEPS))
    found = [(name, options) for name, options in COMMAND.findall(text) if "--resume" not in options]
    assert len({name for name, _ in found}) >= 3
    return sorted(set(found))


@pytest.mark.parametrize(("name", "options"), documented())
def test_a_documented_sweep_is_understood(name: str, options: str) -> None:
    sweep = importlib.import_module(f"sweeps.{name}").SWEEP
    settings, config, given = command.parse(sweep, shlex.split(options))
    space = {key: domain for key, domain in sweep.space(config).items() if key not in given}
    assert spaces.checked(space, config), "something is left to search"
    assert settings.trials


def test_the_example_of_a_sweep_of_ones_own_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", SWEEPS.read_text(), re.DOTALL)
    ast.parse(code)
    made: dict[str, object] = {"__name__": "sweeps.voxels"}
    exec(code, made)
    sweep = made["SWEEP"]
    assert isinstance(sweep, Sweep)
    _, config, _ = command.parse(sweep, ["--trials", "3"])
    assert set(spaces.checked(sweep.space(config), config)) == {"student.voxels.size", "optimizer.lr"}


def test_a_sweep_answers_before_it_loads_ray() -> None:
    lines = ["--help"], ["--no.such.key", "3"]
    answers, heavy = printed(
        ANSWERS, *map(json.dumps, (["ray", "torch", "mlflow"], "sweeps.loss_weights", *lines))
    )
    assert heavy == [] and [code for code, _, _ in answers] == [0, 1]
