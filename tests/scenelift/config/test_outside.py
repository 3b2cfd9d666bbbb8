"""Classes from a file, a module or an installed package; every mistake is one line that says what to write."""

import os
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from scenelift.config import outside
from scenelift.errors import ConfigError, DataError

GROUP: outside.Group = "scenelift.sources"
GOOD = """
from beside_outside_test import BASE

class Mine:
    def __init__(self, root): self.root = root
    def read(self): return BASE

NUMBER = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    before = set(sys.modules)
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters/outside_test_mine.py").write_text(GOOD)
    (tmp_path / "adapters/beside_outside_test.py").write_text("BASE = 7\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        if "outside_test" in name:
            del sys.modules[name]


def test_a_class_of_a_file_is_imported_with_its_neighbours_and_can_be_unpickled_elsewhere(
    folder: Path,
) -> None:
    mine = outside.load("adapters/outside_test_mine.py:Mine", GROUP, "source", ("read",))
    assert mine("x").read() == 7
    data = pickle.dumps(mine("here"))
    for place in (folder, folder / "adapters"):
        code = f"import pickle; print(pickle.loads({data!r}).root)"
        done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
        assert done.stdout == "here\n", done.stderr


def test_a_process_in_another_folder_finds_the_file_by_pythons_path(folder: Path, monkeypatch) -> None:
    outside.load("adapters/outside_test_mine.py:Mine", GROUP, "source")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    outside.require_there("adapters/outside_test_mine.py:Mine", GROUP, "source")
    paths = os.environ["PYTHONPATH"].split(os.pathsep)
    assert {str(folder / "adapters"), "adapters"} <= set(paths), "also where a submitted job is unpacked"


def test_modules_and_entry_points_are_found_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert outside.load("fractions:Fraction", GROUP, "source")(1, 2) == 0.5
    entry = EntryPoint("half", "fractions:Fraction", GROUP)
    monkeypatch.setattr(outside, "entry_points", lambda group: [entry] if group == GROUP else [])
    assert outside.load("half", GROUP, "source")(1, 2) == 0.5
    assert outside.is_outside("half", GROUP) and not outside.is_outside("half", "scenelift.engines")
    with pytest.raises(ConfigError, match="did you mean half"):
        outside.load("hal", GROUP, "source")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nowhere.py:Mine", None, "there is no file nowhere.py in .*check the path"),
        ("Mine", None, "write --source FILE.py:CLASS"),
        ("mine.py:", None, "is no file and class; write --source FILE.py:CLASS"),
        ("no_such_module_outside_test:Mine", None, "ModuleNotFoundError: No module named"),
        ("a-b:Mine", None, "a-b is neither a file NAME.py nor a module"),
        ("adapters/outside_test_mine.py:Mina", None, "has no Mina; did you mean Mine"),
        ("adapters/outside_test_mine.py:NUMBER", None, "NUMBER is a int; write --source FILE.py:CLASS"),
        (
            "outside_test_broken.py:Mine",
            "x = 1\n1 / 0\n",
            r"ZeroDivisionError: .*outside_test_broken.py, line 2\)",
        ),
        ("outside_test_syntax.py:Mine", "class Mine\n", r"SyntaxError: .*outside_test_syntax.py, line 1\)"),
        (
            "outside_test_exit.py:Mine",
            "import sys\nsys.exit(3)\n",
            r"SystemExit: 3 \(outside_test_exit.py, line 2\)",
        ),
        (
            "outside_test_lacks.py:Mine",
            "class Mine: pass\n",
            "has no read, which it needs; docs/your_own_data.md",
        ),
        ("json.py:Mine", "class Mine: pass\n", "has the name of another module, json .*call it my_json.py"),
        ("out-side.py:Mine", "class Mine: pass\n", "call it out_side.py"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(
    name: str, code: str | None, says: str, folder: Path
) -> None:
    if code is not None:
        (folder / name.partition(":")[0]).write_text(code)
    with pytest.raises(ConfigError, match=says) as caught:
        outside.load(name, GROUP, "source", ("read",))
    assert "\n" not in str(caught.value)


def test_a_users_own_error_is_told_as_it_is(folder: Path) -> None:
    (folder / "outside_test_told.py").write_text(
        "from scenelift.errors import DataError\nraise DataError('get the files first')\n"
    )
    with pytest.raises(DataError, match=r"^get the files first$"):
        outside.load("outside_test_told.py:Mine", GROUP, "source")
