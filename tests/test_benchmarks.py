"""The training that benchmarks kill and scale is one that learns; what they print of it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import scaling, survival, toy
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
