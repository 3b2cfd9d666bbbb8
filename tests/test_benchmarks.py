"""The training that benchmarks kill and scale is one that learns; what they print of it is right."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import clip2scene_rows, clip2scene_table, scaling, survival, toy
from scenelift.config.cli import parse
from scenelift.errors import ConfigError
from scenelift.samples.config import ReadOptions
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import LoopConfig
from scenelift.train.loop import train
from scenelift.train.plan import Plan
from scenelift.train.state import Worker


def test_the_toy_learns(tmp_path: Path) -> None:
    source, options = toy.Clouds(8, 200), ReadOptions(image_size=(8, 12))
    frames = [source.read(keyframe, options) for keyframe in source.list_samples(None)]
    loop = LoopConfig(epochs=20, batch=4, checkpoint_every=20, log_every=1)
    events: list[dict[str, Any]] = []

    def stream(indices: Any, collate: Any, size: int) -> Any:
        for number, start in enumerate(range(0, len(indices), size)):
            yield collate([frames[i] for i in indices[start : start + size]], number)

    worker = Worker(
        plan=Plan(len(frames), loop, 1),
        optimizer=toy.OPTIMIZER,
        checkpoints=Checkpoints(tmp_path),
        collate=toy.COLLATE,
        stream=stream,
        post=events.append,
    )
    train(toy.Build(0.0, tmp_path / "hurry")(), worker)
    losses = [event["values"]["loss/height"] for event in events if event["kind"] == "metrics"]
    assert losses[-1] < 0.8 * losses[0]
    watch = scaling.Watch()
    for event in events:
        watch.listen(event)
    assert [len(watch.spans), watch.step] == [40 - scaling.WARM, 40]
    rate, step, waiting = watch.figures()
    assert rate * step == pytest.approx(scaling.BATCH) and 0 <= waiting <= 1


def test_a_killed_trainings_figures(capsys: pytest.CaptureFixture[str]) -> None:
    kills = [
        survival.Kill("worker", 0.0, 30, lost=10, seconds=5.0),
        survival.Kill("worker", 0.0, 50, lost=12, seconds=7.0),
        survival.Kill("driver", 0.0, 50),
    ]
    survival.report(kills, same=True)
    said = capsys.readouterr().out
    assert "recovered 2 of 3" in said and "the same bits" in said
    assert "worker: median 7.0 s, at most 7.0 s; steps lost at most 12, on average 11.0, of 20" in said
    assert "driver" not in said


@pytest.fixture
def real_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders with the names of real shards, in a working directory of their own."""
    monkeypatch.chdir(tmp_path)
    for name in ("pretrain", "train", "val", "kitti-train", "kitti-val", "scannet-train", "scannet-val"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return Path("data")


def test_the_papers_tables_are_planned_as_commands(
    real_shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row is a command that says the same as the run, after the row that it starts from."""
    planned = list(clip2scene_rows.paper(real_shards, 0))
    assert len({entry.row for entry in planned}) == len(planned) > 30
    for number, entry in enumerate(planned):
        python, flag, module, *words = shlex.split(entry.text)
        assert (python, flag) == ("python", "-m") and entry.preset.startswith("paper_")
        parsed = parse(import_module(f"{module}.config").PRESETS, words, module)
        assert parsed.run.name == entry.name
        assert replace(parsed, run=entry.config.run) == entry.config
        assert entry.start is None or entry.start in {earlier.row for earlier in planned[:number]}
    clip2scene_table.main(["--data", "data", "--plan", "--row", "ppkt", "--row", "nuscenes-0.01-from-ppkt"])
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("not begun ") and second.startswith("waiting for ppkt ")
    assert "--data.train data/pretrain" in first and "runs/table-ppkt-0/student" in second


def test_rows_run_one_after_another_and_only_once(
    real_shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, bool, int]] = []

    def train(task: Any) -> None:
        config = task.config
        ran.append((config.run.name, config.run.resume, config.loop.preflight_steps))
        folder = Path("runs") / config.run.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if not config.loop.preflight_steps:
            (folder / "student").mkdir()
        status = "measured" if config.loop.preflight_steps else "finished"
        monkeypatch.setitem(statuses, config.run.name, status)

    statuses: dict[str, str] = {}
    monkeypatch.setattr(clip2scene_rows, "run", train)
    monkeypatch.setattr(clip2scene_rows, "Run", lambda place: SimpleNamespace(status=statuses[place.name]))
    tasks = {name: (presets, Checked) for name, (presets, _) in clip2scene_rows.TRAININGS.items()}
    monkeypatch.setattr(clip2scene_rows, "TRAININGS", tasks)
    monkeypatch.setattr(clip2scene_table.cluster, "connect", nullcontext)
    monkeypatch.setattr(clip2scene_table.table, "run", lambda config: print(config.experiments))
    chosen = ["--data", "data", "--row", "clip2scene", "--row", "nuscenes-0.01-from-clip2scene"]
    clip2scene_table.main([*chosen, "--preflight", "3"])
    assert ran == [("table-clip2scene-0", False, 3)], "the other has no student to start from"
    clip2scene_table.main(chosen)
    assert ran[1:] == [
        ("table-clip2scene-0", True, 0),
        ("table-nuscenes-0.01-from-clip2scene-0", False, 0),
    ]
    clip2scene_table.main([*chosen[:4], "--plan"])
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1) == [
        "finished",
        "python -m trainables.distill --run.name table-clip2scene-0 --run.resume true",
    ]
    clip2scene_table.main(chosen)
    assert len(ran) == 3 and "('distill', 'finetune')" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="run that first: --row slidr"):
        clip2scene_table.main(["--data", "data", "--row", "nuscenes-1-from-slidr"])
    with pytest.raises(ConfigError, match=r"unknown row clip.*clip2scene"):
        clip2scene_table.main(["--data", "data", "--row", "clip2scen"])
    (real_shards / "val").rmdir()
    with pytest.raises(ConfigError, match=r"no shards data/val; docs/clip2scene.md has the commands"):
        clip2scene_table.main(["--data", "data", "--plan"])


@dataclass(frozen=True)
class Checked:
    """In the place of a task that reads real shards."""

    config: Any
