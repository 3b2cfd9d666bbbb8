"""The loop in one process: it learns, resumes bit by bit, splits work the same for any number of workers."""

import contextlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scenelift.errors import ConfigError, StorageError, TrainingError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, VoxelConfig
from scenelift.train.checkpoints import Checkpoints
from scenelift.train.config import LoopConfig, OptimizerConfig
from scenelift.train.loop import train
from scenelift.train.method import Method
from scenelift.train.optimizer import lr_factor
from scenelift.train.plan import Plan
from scenelift.train.state import Worker
from tests.made.frames import VOCABULARY, made_up_frame
from tests.made.full_disk import no_file_above

VOXELS = VoxelConfig(4.0, "geometry", 1 / 255)
LOOP = LoopConfig(epochs=4, batch=4, checkpoint_every=3, log_every=2, keep=9)
FRAMES = [made_up_frame(f"frame-{i:05d}") for i in range(10)]


class Supervised(Method):
    """Learns which points are high, which the geometry features show; a loss that can fall."""

    def __init__(self, spoil_at=None):
        super().__init__()
        torch.manual_seed(0)
        config = StudentConfig(VOXELS, NetworkConfig(8, (8,), (8,)))
        self.student = Student(config, 1, torch.eye(3, 8), VOCABULARY, {"semantic": 8})
        self.weights = {"height": 2.0}
        self.spoil_at = spoil_at

    def forward(self, batch, progress):
        logits = self.student.class_logits(self.student(batch.voxels))
        target = (batch.voxels.features[:, 1] > 0).long()
        loss = F.cross_entropy(logits[:, :2], target)
        loss = loss + 0.01 * torch.rand(())  # draws, so that random states matter
        return {"height": loss * float("nan") if progress.step == self.spoil_at else loss}


def stream(indices, collate, size):
    for number, start in enumerate(range(0, len(indices), size)):
        yield collate([FRAMES[i] for i in indices[start : start + size]], number)


def worker(folder, loop=LOOP, **kwargs):
    return Worker(
        plan=Plan(len(FRAMES), loop, 1),
        optimizer=OptimizerConfig("adamw", lr=1e-2),
        checkpoints=Checkpoints(folder, loop.keep),
        collate=Collate(VOXELS, Augmentation()),
        stream=stream,
        **kwargs,
    )


def weights(folder):
    return Student.load(Checkpoints(folder).latest().folder).state_dict()


def test_the_loss_falls_and_events_tell_the_story(tmp_path):
    events, reports = [], []
    loop = replace(LOOP, epochs=20)
    train(Supervised(), worker(tmp_path, loop, post=events.append, report=reports.append))
    losses = [e["values"]["loss/height"] for e in events if e["kind"] == "metrics"]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    first = next(e for e in events if e["kind"] == "metrics")
    assert first["values"]["loss/total"] == pytest.approx(2 * first["values"]["loss/height"]), "weighted"
    device = events[0].pop("device")
    assert device.startswith("CPU with ") and device.endswith(", float32")
    assert events[0] == {"kind": "start", "step": 0, "steps": 40, "workers": 1, "rounds": 1}
    assert [r["epoch"] for r in reports] == list(range(1, 21))
    assert Checkpoints(tmp_path).latest().step == 40


@pytest.mark.parametrize("broken_at", [3, 6])
def test_a_training_broken_anywhere_ends_as_an_unbroken_one(tmp_path, broken_at):
    train(Supervised(), worker(tmp_path / "whole"))

    class BrokenError(Exception):
        pass

    def stop(indices, collate, size):
        for number, batch in enumerate(stream(indices, collate, size)):
            if number == broken_at + 1:
                raise BrokenError
            yield batch

    first = worker(tmp_path / "broken")
    first.stream = stop
    with pytest.raises(BrokenError):
        train(Supervised(), first)
    assert Checkpoints(tmp_path / "broken").latest().step == broken_at
    events = []
    train(Supervised(), worker(tmp_path / "broken", post=events.append))
    assert events[0]["step"] == broken_at
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_training_that_stops_after_some_epochs_goes_on_as_if_it_had_not(tmp_path):
    """Its rates and percents are those of the whole training."""
    train(Supervised(), worker(tmp_path / "whole"))
    events = []
    short = replace(LOOP, stop_after=3)
    train(Supervised(), worker(tmp_path / "parts", short, post=events.append))
    assert events[0]["steps"] == events[-1]["step"] == 6, "three epochs of two steps"
    assert [event["values"]["percent"] for event in events if event["kind"] == "epoch"] == [25, 50, 75]
    train(Supervised(), worker(tmp_path / "parts"))
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    for wrong, message in (
        (0, "stop_after must be at least 1"),
        (5, "stop_after is at most loop.epochs 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(LOOP, stop_after=wrong)


def test_accumulated_micro_batches_cover_the_same_frames():
    whole, parts = Plan(10, LOOP, 1), Plan(10, replace(LOOP, accumulate=2), 2)
    assert (whole.micro, parts.micro) == (4, 1)
    for step in range(whole.steps):
        frames = {int(i) for i in whole.indices(step, 0)[:4]}
        split = {int(i) for rank in (0, 1) for i in parts.indices(step, rank)[:2]}
        assert frames == split


@pytest.mark.parametrize("workers", range(1, 9))
def test_fewer_workers_take_the_same_micro_batches_in_more_rounds(workers):
    """Every micro-batch counts once; the mean of the workers' weighted sums is the mean over micro-batches."""
    full = Plan(34, LoopConfig(epochs=2, batch=16), 8)
    plan = Plan(34, full.loop, workers, most=8)
    assert (plan.parts, plan.micro, plan.steps) == (8, 2, full.steps)
    for step in (0, full.steps - 1):
        wanted = [tuple(full.indices(step, rank)[:2]) for rank in range(8)]
        counted, weight = [], 0.0
        for rank in range(workers):
            frames = plan.indices(step, rank).reshape(-1, plan.micro)[: plan.rounds]
            turns = plan.turns(rank)
            assert len(turns) == plan.rounds == len(frames)
            counted += [tuple(f) for f, (_, counts) in zip(frames, turns, strict=True) if counts]
            weight += sum(counts * plan.workers / plan.parts for _, counts in turns) / workers
            assert all(tuple(f) in wanted for f in frames)
        assert sorted(counted) == sorted(wanted)
        assert weight == pytest.approx(1)


def test_one_worker_of_four_trains_as_four_micro_batches_do(tmp_path):
    """The whole loop: weights, losses and checkpoints, to the last bit; only `loop.accumulate` is told apart."""
    alone = worker(tmp_path / "alone")
    alone.plan = Plan(len(FRAMES), LOOP, 1, most=4)
    events: list[dict] = []
    alone.post = events.append
    train(Supervised(), alone)
    train(Supervised(), worker(tmp_path / "parts", replace(LOOP, accumulate=4)))
    one, two = weights(tmp_path / "alone"), weights(tmp_path / "parts")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (events[0]["workers"], events[0]["rounds"]) == (1, 4)


def test_every_epoch_has_another_order_and_no_frame_twice():
    plan = Plan(10, LOOP, 1)
    epochs = plan.indices(0, 0).reshape(plan.loop.epochs, -1)
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == plan.loop.epochs
    assert np.array_equal(plan.indices(5, 0), plan.indices(0, 0)[5 * 4 :])


@pytest.mark.parametrize(
    ("frames", "loop", "workers", "message"),
    [
        (10, LoopConfig(batch=3), 2, "multiple of 2"),
        (10, LoopConfig(batch=4, accumulate=3), 1, "multiple of 3"),
        (3, LoopConfig(batch=4), 1, "write --loop.batch 3"),
    ],
)
def test_batches_that_cannot_be_split_are_refused(frames, loop, workers, message):
    with pytest.raises(ConfigError, match=message):
        Plan(frames, loop, workers)


def test_a_loss_that_is_not_finite_names_its_frames_and_spoils_no_checkpoint(tmp_path):
    plan = Plan(len(FRAMES), LOOP, 1)
    tokens = [FRAMES[i].token for i in plan.indices(4, 0)[:4]]
    with pytest.raises(TrainingError, match=", ".join(tokens)):
        train(Supervised(spoil_at=4), worker(tmp_path))
    assert Checkpoints(tmp_path).latest().step == 3


class Full(Checkpoints):
    """Checkpoints on a disk that is full at some steps."""

    def __init__(self, folder, keep, full):
        super().__init__(folder, keep)
        self.full = full

    def save(self, step, student, state, score=None):
        if step in self.full:
            raise StorageError(f"disk is full at step {step}")
        return super().save(step, student, state, score)


def test_a_checkpoint_that_cannot_be_written_is_said_and_the_next_one_tried(tmp_path):
    events = []
    train(Supervised(), worker(tmp_path / "whole"))
    full = worker(tmp_path / "full", post=events.append)
    full.checkpoints = Full(tmp_path / "full", LOOP.keep, {3})
    train(Supervised(), full)
    told = [(e["step"], e.get("why")) for e in events if e["kind"] in ("checkpoint", "unwritten")]
    assert told == [(3, "disk is full at step 3"), (6, None), (8, None)]
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "full")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("full", "last"), [({3, 6}, None), ({6, 8}, 3), ({8}, 6)])
def test_a_second_one_in_a_row_or_the_last_one_ends_the_training(tmp_path, full, last):
    spoiled = worker(tmp_path)
    spoiled.checkpoints = Full(tmp_path, LOOP.keep, full)
    with pytest.raises(StorageError, match=f"full at step {max(full)}"):
        train(Supervised(), spoiled)
    latest = spoiled.checkpoints.latest()
    assert (latest and latest.step) == last


@pytest.mark.parametrize("file", ["student.safetensors", "training.pt"])
def test_a_damaged_checkpoint_is_said_and_the_older_one_taken(tmp_path, file):
    train(Supervised(), worker(tmp_path / "whole"))
    train(Supervised(), worker(tmp_path / "damaged"))
    for step in (6, 8):
        path = tmp_path / "damaged" / f"step-{step:08d}" / file
        path.write_bytes(bytes(path.stat().st_size))
    events = []
    train(Supervised(), worker(tmp_path / "damaged", post=events.append))
    assert [(each["kind"], each["step"]) for each in events[:3]] == [
        ("damaged", 0),
        ("damaged", 0),
        ("start", 3),
    ]
    whole, again = weights(tmp_path / "whole"), weights(tmp_path / "damaged")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_training_goes_on_after_a_disk_that_was_really_full(tmp_path):
    """The limit is the system's, and the errors are those of the libraries that write."""
    events, checkpoints = [], Checkpoints(tmp_path)

    class Limited(Checkpoints):
        def save(self, step, *rest):
            with no_file_above(2000) if step == 6 else contextlib.nullcontext():
                return super().save(step, *rest)

    limited = worker(tmp_path, post=events.append)
    limited.checkpoints = Limited(tmp_path, LOOP.keep)
    train(Supervised(), limited)
    told = [(e["step"], e["kind"]) for e in events if e["kind"] in ("checkpoint", "unwritten")]
    assert told == [(3, "checkpoint"), (6, "unwritten"), (8, "checkpoint")]
    assert [each.step for each in checkpoints.all()] == [3, 8] and checkpoints.latest().intact()


def test_another_batch_size_does_not_fit_an_old_checkpoint(tmp_path):
    train(Supervised(), worker(tmp_path))
    with pytest.raises(TrainingError, match="new name"):
        train(Supervised(), worker(tmp_path, replace(LOOP, batch=2)))


def test_float16_needs_a_gpu(tmp_path):
    with pytest.raises(ConfigError, match="GPU"):
        train(Supervised(), worker(tmp_path, replace(LOOP, precision="float16")))


def test_bfloat16_keeps_losses_in_float32(tmp_path):
    train(Supervised(), worker(tmp_path, replace(LOOP, precision="bfloat16", epochs=1)))
    assert Checkpoints(tmp_path).latest().step == 2


def test_epochs_are_validated_without_a_trace_in_the_training(tmp_path):
    def validate(student, epoch, epochs):
        student.eval()
        student.predict(FRAMES[0])
        student.train()
        return {"validation/miou": epoch / epochs}

    events, reports = [], []
    train(Supervised(), worker(tmp_path / "plain"))
    train(
        Supervised(),
        worker(tmp_path / "validated", validate=validate, post=events.append, report=reports.append),
    )
    plain, validated = weights(tmp_path / "plain"), weights(tmp_path / "validated")
    assert all(torch.equal(plain[name], validated[name]) for name in plain)
    said = [event["values"] for event in events if event["kind"] == "epoch"]
    assert [(v["epoch"], v["percent"], v["validation/miou"]) for v in said] == [
        (1, 25, 0.25),
        (2, 50, 0.5),
        (3, 75, 0.75),
        (4, 100, 1),
    ]
    assert [report["validation/miou"] for report in reports] == [0.25, 0.5, 0.75, 1]


def test_epochs_of_a_few_steps_are_reported_only_now_and_then(tmp_path):
    reports = []
    loop = replace(LOOP, epochs=9, batch=10, log_every=4)  # one step an epoch
    train(Supervised(), worker(tmp_path, loop, report=reports.append))
    assert [report["epoch"] for report in reports] == [4, 8, 9]


def test_checkpoints_at_the_end_of_every_epoch(tmp_path):
    loop = replace(LOOP, checkpoint_every=0)
    train(Supervised(), worker(tmp_path, loop))
    assert [c.step for c in Checkpoints(tmp_path).all()] == [2, 4, 6, 8]
    assert Plan(10, loop, 1).saves(3) == 3


def test_a_resumed_training_takes_the_rates_of_its_config(tmp_path):
    short = worker(tmp_path / "a", replace(LOOP, epochs=4))
    train(Supervised(), short)
    longer = replace(LOOP, epochs=8)
    for folder, rate in (("same", 1e-2), ("lower", 1e-3)):
        (tmp_path / folder).mkdir()
        events = []
        shutil.copytree(tmp_path / "a" / "step-00000008", tmp_path / folder / "step-00000008")
        again = worker(tmp_path / folder, longer, post=events.append)
        again.optimizer = OptimizerConfig("adamw", lr=rate)
        train(Supervised(), again)
        logged = [e for e in events if e["kind"] == "metrics"]
        wanted = [rate * lr_factor(again.optimizer, event["step"], 2, 8) for event in logged]
        assert [event["values"]["learning_rate"] for event in logged] == pytest.approx(wanted)
