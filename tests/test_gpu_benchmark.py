"""`benchmarks.gpu` runs where there is no card, and where torch and numpy are all there is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu.__main__ import main, run, table
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.frames import SYNTHETIC_FRAMES, load, save
from scenelift.errors import DataError
from scenelift.io.interrupts import own_handlers
from scenelift.samples.frame import FRAME
from tests.made.frames import VOCABULARY, made_up_frame

FRAMES = [made_up_frame(f"frame{k}") for k in range(1 + SYNTHETIC_FRAMES)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gpu") / "frames.npz"
    save(path, FRAMES, [VOCABULARY] * len(FRAMES))
    return path


def test_frames_travel_unchanged(file: Path) -> None:
    loaded = load(file)
    assert loaded.real and loaded.vocabularies[0] == VOCABULARY
    for ours, original in zip(loaded.frames, FRAMES, strict=True):
        assert FRAME.to_row(ours) == FRAME.to_row(original)
    with pytest.raises(DataError, match=r"benchmarks\.gpu\.frames"):
        load(file.with_name("none.npz"))


def test_copies_of_a_frame_have_the_asked_sweeps(file: Path) -> None:
    copies, original = load(file).large(2, sweeps=2), FRAMES[0]
    keyframe = original.keyframe
    assert copies[0].token != copies[1].token
    for frame in copies:
        assert frame.sweep.tolist() == sorted([0, 1, 2] * int(keyframe.sum()))
        np.testing.assert_array_equal(frame.points[frame.sweep == 0], original.points[keyframe])
        assert len(frame.pair_points) == 3 * np.isin(original.pair_points, np.flatnonzero(keyframe)).sum()


def test_a_dry_run_measures_and_says_what_it_left_out(file: Path, tmp_path: Path) -> None:
    bench, out = Bench(torch.device("cpu"), small=True, seconds=1000), tmp_path / "gpu.json"
    result = run(bench, file, ["environment", "convolutions", "losses"], out)
    assert json.loads(out.read_text()).keys() == result.keys()
    assert not result["left_out"]
    exact = {key: value for key, value in result["sections"]["convolutions"].items() if "float32" in key}
    assert exact and all(max(differences) < 1e-5 for differences in exact.values()), exact
    assert "submanifold" in table(result)
    nothing = run(Bench(torch.device("cpu"), True, seconds=0), file, ["losses"], out)
    assert nothing["left_out"] == {"losses": "no time left"}


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--only", "nothing"), "no section nothing"), ((), "torch sees no GPU here; --device cpu --small")],
)
def test_a_mistake_is_one_line(
    options: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", *options])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with own_handlers(), pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().err.startswith(f"error: {message}")


BARE = """
import importlib, importlib.abc, sys
missing = {"ray", "mlflow", "optuna", "pyarrow", "fsspec", "plyfile", "h5py"}
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ImportError(f"{name} is missing")
sys.meta_path.insert(0, Missing())
for room in ROOMS:
    importlib.import_module(room)
"""
ROOMS = (
    "benchmarks.gpu.__main__",
    "scenelift.nn.student",
    "scenelift.teachers.clip",
    "scenelift.points.collate",
    "scenelift.train.state",
    "trainables.distill.method",
    "trainables.finetune.method",
    "trainables.pretrain.method",
    "trainables.ground.method",
    "trainables.phrases.method",
)


@pytest.mark.slow
def test_networks_losses_and_steps_need_no_ray_and_no_pyarrow() -> None:
    code = BARE.replace("ROOMS", repr(("benchmarks", *ROOMS)))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
