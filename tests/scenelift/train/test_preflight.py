"""A training says what it will take and refuses what cannot fit, before hours are spent on it."""

import json
import math
import shutil
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scenelift.errors import ClusterError, ConfigError, StorageError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.runs.experiment import experiment
from scenelift.runs.folder import Run
from scenelift.samples.config import ReadOptions
from scenelift.shards.read import Shards
from scenelift.shards.write import write_shards
from scenelift.train import preflight
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import LoopConfig, OptimizerConfig
from scenelift.train.job import Job
from scenelift.train.launch import Resources, launch
from scenelift.train.loop import train
from scenelift.train.method import Method
from scenelift.train.plan import Plan
from scenelift.train.preflight import Estimate, Measured, Stopwatch, duration, size_of, smaller
from scenelift.train.state import Worker
from tests.made.frames import VOCABULARY, MadeUp, made_up_frame
from tests.made.run_config import LeastConfig

VOXELS = VoxelConfig(4.0, "geometry", 1 / 255)
LOOP = LoopConfig(epochs=8, batch=4, checkpoint_every=3, log_every=2, keep=2)
FRAMES = [made_up_frame(f"frame-{i:05d}") for i in range(10)]
ESTIMATE = Estimate(
    steps=5980,
    seconds_per_step=0.42,
    device="cuda",
    memory=12_300_000_000,
    room=42_400_000_000,
    checkpoint=180_200_000,
    checkpoints=4,
    disk=900_000_000,
    free=55_000_000_000,
)
Usage = namedtuple("Usage", "total used free")


class Student8(Method):
    """Learns a constant; raises `error` at one step."""

    def __init__(self, error=None, at=0):
        super().__init__()
        torch.manual_seed(0)
        config = StudentConfig(VOXELS, NetworkConfig(8, (8,), (8,)))
        self.student = Student(config, 1, torch.eye(3, 8), VOCABULARY, {"semantic": 8})
        self.weights = {"height": 1.0}
        self.error, self.at, self.steps = error, at, 0

    def forward(self, batch, progress):
        if self.error is not None and progress.step == self.at:
            raise self.error
        self.steps += 1
        logits = self.student.class_logits(self.student(batch.voxels))
        return {"height": (logits[:, 0] - batch.voxels.features[:, 1]).square().mean()}


def worker(folder, loop=LOOP, events=None, workers=1):
    def stream(indices, collate, size):
        for number, start in enumerate(range(0, len(indices), size)):
            yield collate([FRAMES[i] for i in indices[start : start + size]], number)

    return Worker(
        plan=Plan(len(FRAMES), loop, workers),
        optimizer=OptimizerConfig("adamw", lr=1e-2),
        checkpoints=Checkpoints(folder, loop.keep),
        collate=Collate(VOXELS, Augmentation()),
        stream=stream,
        post=(lambda event: None) if events is None else events.append,
    )


def estimate_of(events):
    (found,) = [event for event in events if event["kind"] == "estimate"]
    return Estimate(**found["values"])


def test_steps_are_timed_after_warming_up_and_once():
    seconds = iter([100.0, 104.0])
    watch = Stopwatch(start=20, last=30, clock=lambda: next(seconds))
    laps = [watch.lap(done) for done in range(21, 60)]
    assert [lap for lap in laps if lap is not None] == [4.0 / (10 - preflight.WARM_UP)]
    assert laps.index(0.5) == 30 - 21


def test_the_table_says_hours_memory_and_disk():
    noon = time.mktime((2024, 5, 4, 12, 0, 0, 0, 0, -1))
    table = ESTIMATE.table(noon)
    assert "5,980 steps of 0.42 s: 41 min 52 s, until about 12:41" in table
    assert "GPU memory  12.3 GB of 42.4 GB" in table
    assert "900.0 MB of 55.0 GB free, for 4 more checkpoints of 180.2 MB" in table
    assert "28 h 0 min, until about Sun 16:00" in replace(ESTIMATE, steps=240_000).table(noon)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.7, "1 min 0 s"), (75, "1 min 15 s"), (3599.9, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_read_easily(seconds, text):
    assert duration(seconds) == text


def test_what_cannot_fit_is_refused_with_the_knobs(tmp_path):
    ESTIMATE.require(tmp_path, "")
    with pytest.raises(StorageError, match=r"900.0 MB .* 899.0 MB are free .* lower loop.keep"):
        replace(ESTIMATE, free=899_000_000).require(tmp_path, "")
    full = replace(ESTIMATE, memory=int(42.4e9 / preflight.SPARE) + 1)
    with pytest.raises(ClusterError, match=r"of 42.4 GB GPU memory .*; use less"):
        full.require(tmp_path, "use less")


def test_a_gpus_room_is_what_is_free_and_what_is_ours(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (30, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 20)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 15)
    assert preflight.memory(torch.device("cuda", 0)) == (15, 50)


@pytest.mark.parametrize(
    ("batch", "accumulate", "workers", "words"),
    [
        (16, 1, 2, "raise loop.accumulate to 2"),
        (12, 2, 2, "raise loop.accumulate to 3"),
        (4, 2, 2, "a single sample already: use fewer points"),
    ],
)
def test_advice_keeps_the_batch_divisible(batch, accumulate, workers, words):
    plan = Plan(100, LoopConfig(batch=batch, accumulate=accumulate), workers)
    assert words in smaller(plan, "use fewer points")


def test_a_training_estimates_itself_once(tmp_path):
    events = []
    train(Student8(), worker(tmp_path, events=events))
    found = estimate_of(events)
    kinds = [(e["kind"], e["step"]) for e in events]
    assert ("estimate", preflight.MEASURED) in kinds
    assert found.steps == 16 - preflight.MEASURED
    assert 0 < found.seconds_per_step < 10
    assert 0 < found.memory < found.room
    written = sum(f.stat().st_size for f in Path(Checkpoints(tmp_path).latest().folder).iterdir())
    assert found.checkpoint == pytest.approx(written, rel=0.5), "a tiny student: mostly headers"
    tensors = size_of(Student8().student.state_dict())
    assert found.disk == found.checkpoints * found.checkpoint + preflight.COPIES * tensors


def test_a_history_has_every_event_of_a_training(tmp_path, capsys):
    """Each resumed run said that two lines, its estimates, could not be read."""
    events, run = [], Run(str(tmp_path / "run"))
    train(Student8(), worker(tmp_path / "checkpoints", events=events))
    run.folder.mkdir()
    for event in events:
        run.record(event)
    kinds = [event["kind"] for event in events]
    assert [event["kind"] for event in run.history()] == kinds
    assert {"start", "metrics", "estimate", "epoch", "checkpoint"} <= set(kinds)
    assert "cannot be read" not in capsys.readouterr().err


@pytest.mark.parametrize(("best", "better"), [(False, False), (True, True), (True, False)])
@pytest.mark.parametrize(("done", "keep"), [(0, 1), (0, 3), (12, 1), (10, 9), (15, 2), (16, 2)])
def test_so_many_checkpoints_lie_there_at_once(tmp_path, monkeypatch, done, keep, best, better):
    """Counted while a run of 16 steps writes one every 3, with scores that rise or fall, or without."""
    plan, checkpoints = Plan(len(FRAMES), LOOP, 1), Checkpoints(tmp_path, keep)
    student, most = Student8().student, 0
    prune = checkpoints._prune

    def count():
        nonlocal most
        most = max(most, len(checkpoints.all()))
        prune()

    monkeypatch.setattr(checkpoints, "_prune", count)
    steps = [step for step in range(1, plan.steps + 1) if step % 3 == 0 or step == plan.steps]
    for step in (s for s in steps if s <= done):
        checkpoints.save(step, student, {}, (step if better else -step) if best else None)
    there = most = len(checkpoints.all())
    found = preflight.additional(checkpoints, plan.saves(done), keep + best)
    for step in (s for s in steps if s > done):
        checkpoints.save(step, student, {}, (step if better else -step) if best else None)
    assert most - there <= found
    assert (best and better) or most - there == found


def test_a_disk_too_small_ends_the_training_before_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 10**6 - 10_000, 10_000))
    events, method = [], Student8()
    with pytest.raises(StorageError, match=r"needs about .* 0.0 MB are free .* set run.storage"):
        train(method, worker(tmp_path, replace(LOOP, checkpoint_every=500), events))
    assert method.steps == preflight.MEASURED
    assert not Checkpoints(tmp_path).all()
    assert estimate_of(events).free == 10_000, "the driver shows the numbers before the error"


def test_memory_that_later_batches_would_fill_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "memory", lambda device: (95 * 10**8, 10**10))
    with pytest.raises(ClusterError, match=r"9500.0 MB of 10.0 GB memory .* raise loop.accumulate to 2"):
        train(Student8(), worker(tmp_path))


def test_a_preflight_measures_and_leaves_no_checkpoint(tmp_path):
    events, method = [], Student8()
    loop = replace(LOOP, preflight_steps=5, checkpoint_every=1, log_every=1)
    train(method, worker(tmp_path, loop, events))
    assert method.steps == 5
    assert [e["kind"] for e in events] == ["start", "estimate"]
    assert estimate_of(events).steps == 16, "of the whole run"
    assert not Checkpoints(tmp_path).all()


def test_a_preflight_longer_than_the_training_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="16 steps to go"):
        train(Student8(), worker(tmp_path, replace(LOOP, preflight_steps=17)))
    with pytest.raises(ConfigError, match="warming up"):
        LoopConfig(preflight_steps=preflight.WARM_UP)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        MemoryError("Unable to allocate 4.2 GiB for an array"),
    ],
)
def test_full_memory_is_one_line_with_the_knobs(tmp_path, error):
    with pytest.raises(
        ClusterError, match=r"allocate .* raise loop.accumulate to 2 .* loop.batch below 4"
    ) as got:
        train(Student8(error, at=1), worker(tmp_path))
    assert "\n" not in str(got.value)


def test_other_faults_keep_their_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="size of tensor a"):
        train(Student8(RuntimeError("The size of tensor a (3) must match"), at=1), worker(tmp_path))


def test_a_measured_run_ends_well_and_is_no_result(tmp_path, tracked, capsys):
    tracked(tmp_path)
    config = LeastConfig(LOOP, run=RunConfig("a", str(tmp_path)))
    with experiment("train", config, {}, {"least": config}, ()) as made:
        made.listen({"kind": "start", "step": 0, "steps": 5980, "workers": 1, "rounds": 1, "device": "CPU"})
        made.listen({"kind": "estimate", "step": 5, "values": vars(ESTIMATE)})
        raise Measured
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert result["status"] == "measured"
    assert result["estimate"] == vars(ESTIMATE)
    shown = capsys.readouterr()
    assert "5,980 steps of 0.42 s" in shown.err and "It fits" in shown.out


@pytest.mark.ray
def test_two_workers_measure_and_stop(ray_session, tmp_path):
    shards = str(tmp_path / "shards")
    write_shards(MadeUp(12), None, shards, ReadOptions(image_size=(8, 12)), 4, progress=False)
    events: list[dict] = []
    job = Job(
        samples=Shards.open(shards),
        folder=tmp_path / "checkpoints",
        loop=replace(LOOP, preflight_steps=4),
        optimizer=OptimizerConfig("adamw", lr=1e-2),
        collate=Collate(VOXELS, Augmentation()),
        build=Student8,
    )
    with pytest.raises(Measured):
        launch(job, Resources(workers=2, cpus=0.5, gpus=0), events.append)
    found = estimate_of(events)
    assert found.steps == 24 and math.isfinite(found.seconds)
    assert not job.checkpoints.all()
