"""docs/python.md lists what is public, with its arguments: neither more nor less than the code has."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_overloads

import scenelift

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


def test_every_public_name_has_a_section() -> None:
    sections = re.findall(r"^## `scenelift\.(\w+)", PAGE, re.MULTILINE)
    assert sorted(sections) == sorted(scenelift.__all__) == sorted(dir(scenelift))


def test_the_arguments_are_those_of_the_code() -> None:
    load = inspect.signature(scenelift.load)
    assert f"`scenelift.load({', '.join(map(_shown, load.parameters.values()))})`" in PAGE
    predict = list(inspect.signature(get_overloads(scenelift.Labeler.predict)[0]).parameters.values())[1:]
    assert f"`predict({', '.join(_with_star(predict))})`" in PAGE


def test_the_attributes_are_those_of_the_code() -> None:
    for name in ("ids", "classes", "names", "confidence", "scores", "features"):
        assert f"`{name}`" in PAGE
    fields = {field.name for field in dataclasses.fields(scenelift.Labels)} | {"names"}
    listed = PAGE.split("## `scenelift.Labels`")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\w+)`:", listed)) == fields
    listed = PAGE.split("## `scenelift.Labeler`")[1].split("\n## ")[0]
    for name in re.findall(r"(?:^- |; )`(\w+)[^`]*`:", listed, re.MULTILINE):
        assert hasattr(scenelift.Labeler, name), name


def test_the_library_is_imported_at_once_and_without_torch() -> None:
    script = "import sys, scenelift; print(scenelift.__version__, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT / "platform"
    )
    assert done.stdout.split() == [scenelift.__version__, "False"], done.stderr


def _shown(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
    return parameter.name + default.replace("'", '"')


def _with_star(parameters: list[inspect.Parameter]) -> list[str]:
    first = next(i for i, each in enumerate(parameters) if each.kind is each.KEYWORD_ONLY)
    shown = list(map(_shown, parameters))
    return [*shown[:first], "*", *shown[first:]]
