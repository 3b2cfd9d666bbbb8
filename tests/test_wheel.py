"""The wheel holds the library, whole, and nothing else, and works in an environment of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import scenelift

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building leaves files in its tree
    shutil.copytree(
        ROOT / "platform", source / "platform", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("datasets", "trainables", "sweeps", "tests"):
        (source / name).mkdir()
        (source / name / "__init__.py").touch()
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = ROOT / "platform"
    files = {path for path in (library / "scenelift").rglob("*") if path.suffix in (".py", ".html", ".typed")}
    assert names == {str(path.relative_to(library)) for path in files}
    assert f"-{scenelift.__version__}-" in wheel.name


def test_an_installed_wheel_is_imported_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(
        *pip,
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--disable-pip-version-check",
        wheel,
        cwd=tmp_path,
    )
    alone = (
        "import scenelift.errors, importlib.metadata as m; print(scenelift.__file__, m.version('scenelift'))"
    )
    file, version = run(python, "-I", "-c", alone, cwd=tmp_path).split()
    assert Path(file).is_relative_to(tmp_path / "venv") and version == scenelift.__version__
    here = sysconfig.get_paths()["purelib"]  # the dependencies of the wheel
    beside = f"import sys; sys.path.append({here!r}); import scenelift.runs.folder as f; print(f.__file__)"
    assert Path(run(python, "-I", "-c", beside, cwd=tmp_path)).is_relative_to(tmp_path / "venv")


def test_the_wheel_labels_scans_without_what_training_needs(wheel: Path, tmp_path: Path) -> None:
    """Beside it are the libraries of these tests, but for those of the extra `train`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[\[=<>!]", text)[0] for text in project["optional-dependencies"]["train"]}
    missing = names | {"skimage", "pynvml"}
    (tmp_path / "libraries").mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if path.name not in missing and not path.name.startswith("__editable__"):
            (tmp_path / "libraries" / path.name).symlink_to(path)
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--disable-pip-version-check", wheel, cwd=tmp_path)
    np.random.default_rng(0).uniform(0, 20, (500, 4)).astype("<f4").tofile(tmp_path / "scan.bin")
    student = ROOT / "trainables" / "weights" / "synthetic_student"
    given = ["--student", str(student), "--data", "scan.bin", "--input.scale", "10"]
    words = [
        "--classes",
        "car",
        "--teacher",
        str(student.parent / "tiny_clip.safetensors"),
        "--format",
        "las",
    ]
    said = scenelift_alone(python, tmp_path, ["predict", *given, *words])
    assert "1 clouds, 500 points" in said and "next: " in said
    assert (tmp_path / "labels" / "scan.las").exists()
    scenelift_alone(python, tmp_path, ["explore", *given, "--with_teacher", "false", "--export", "scan.html"])
    assert "<canvas" in (tmp_path / "scan.html").read_text()


def scenelift_alone(python: Path, folder: Path, words: list[str]) -> str:
    """Run the command of the wheel with the libraries of the folder."""
    paths = (
        f"import sys; sys.path.append({str(folder / 'libraries')!r}); sys.argv = {['scenelift', *words]!r}"
    )
    return run(
        python, "-I", "-c", f"{paths}; import scenelift.commands as commands; commands.main()", cwd=folder
    )
