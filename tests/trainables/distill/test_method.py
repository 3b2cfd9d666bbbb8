"""CLIP2Scene: its loss against torch, its method's gradients, and the whole job on a tiny world."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.nuscenes.source import NuScenes
from scenelift.config.files import dump, load
from scenelift.errors import ClusterError, ConfigError, ShardError, StorageError, TrackingError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.samples.config import ReadOptions
from scenelift.shards.write import write_shards
from scenelift.teachers.clip import DenseClip, build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.train.method import Progress
from tests.made.frames import VOCABULARY, MadeUp, made_up_frame
from trainables.common.config import SegmentationData
from trainables.distill import task as distill
from trainables.distill.config import (
    NO_SELF_TRAINING,
    PRESETS,
    DistillConfig,
    DistillLoss,
    SelfTrainingConfig,
)
from trainables.distill.method import Clip2Scene, leading, make_student, most_confident
from trainables.evaluate import run as evaluate
from trainables.evaluate.config import EvaluationData

SMALL = StudentConfig(VoxelConfig(1.0, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,)))
RANDOM = TeacherConfig(weights="random", image_size=(28, 48))


def method_of(
    loss: DistillLoss, teacher: DenseClip, self_training: SelfTrainingConfig = NO_SELF_TRAINING
) -> Clip2Scene:
    torch.manual_seed(0)
    config = replace(PRESETS["synthetic"], student=SMALL, loss=loss)
    return Clip2Scene(make_student(config, teacher, 1), teacher, loss, self_training)


def test_the_surest_pairs_are_those_with_the_clearest_lead():
    torch.manual_seed(0)
    scores = torch.randn(40, 5)
    ordered = scores.sort(dim=1, descending=True).values
    margin = (ordered[:, 0] - ordered[:, 1]).tolist()
    labels, got = leading(scores)
    assert labels.tolist() == scores.argmax(1).tolist()
    assert got.tolist() == pytest.approx(margin)
    assert most_confident(got, 0.3).tolist() == sorted(sorted(range(40), key=lambda i: -margin[i])[:12])
    assert most_confident(got, 1.0).tolist() == list(range(40)), "the paper learns from all pairs"
    assert len(most_confident(got[:0], 0.3)) == 0


@pytest.mark.parametrize("form", ["code", "joint"])
def test_remembered_scores_are_those_of_the_teacher(form):
    """What a worker remembers of a frame is what the teacher says of it, whatever its batch and its sweeps."""
    teacher = build_teacher(RANDOM, VOCABULARY)
    loss = DistillLoss(spatial_temporal=1.0, spatial_temporal_form=form, grid=1.0)
    method = method_of(replace(loss, cache_frames=2), teacher)
    fresh = method_of(loss, teacher)
    frames = [made_up_frame(f"frame-{i:05d}") for i in range(4)]
    for chosen in ([0, 1, 2], [2, 0], [3, 1], [1, 0, 3]):
        batch = Collate(SMALL.voxels)([frames[i] for i in chosen])
        for got, want in zip(method.look(batch), fresh.look(batch), strict=True):
            assert torch.equal(got, want)
    assert list(method.cached) == [frames[0].token, frames[1].token]
    with pytest.raises(ConfigError, match="cache_frames"):
        image = ImageAugmentation(flip=True)
        replace(PRESETS["synthetic"], augmentation=Augmentation(image=image))


def test_the_method_teaches_the_student_the_teachers_labels_and_nothing_else():
    torch.manual_seed(0)
    teacher = build_teacher(RANDOM, VOCABULARY)
    method = method_of(DistillLoss(semantic=3.0), teacher).train()
    student = method.student
    batch = Collate(SMALL.voxels)([made_up_frame(f"frame-{i:05d}") for i in range(3)])
    losses = method(batch, Progress(0, 0, 1))
    assert losses.keys() == method.weights.keys() == {"semantic"}
    labels = [
        int(teacher.pixel_scores(batch.images, *pixel[:, None]).argmax()) for pixel in batch.pair_pixels
    ]
    logits = student.class_logits(student(batch.voxels))
    terms = [
        -torch.log_softmax(logits[batch.point_voxel[point]], 0)[label]
        for point, label in zip(batch.pair_points, labels, strict=True)
    ]
    assert losses["semantic"].item() == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)
    losses["semantic"].backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("semantic_form", ["classes", "points"])
@pytest.mark.parametrize(
    ("form", "image_features"),
    [("code", "clip"), ("joint", "trained"), ("joint", "clip"), ("cosine", "frozen")],
)
def test_every_form_of_the_losses_trains_everything_it_should(form, image_features, semantic_form):
    """All trained parameters get gradients, frozen ones none, and sweeps enter as clouds of their own."""
    torch.manual_seed(0)
    teacher = build_teacher(RANDOM, VOCABULARY)
    loss = DistillLoss(
        semantic_form=semantic_form,
        spatial_temporal=1.0,
        spatial_temporal_form=form,
        image_features=image_features,
        grid=5.0,
    )
    self_training = SelfTrainingConfig(start=1, probability=1.0, unpaired=0.5)
    method = method_of(loss, teacher, self_training).train()
    options = ReadOptions(lidar_sweeps=2, image_size=(28, 48))
    frames = [made_up_frame(f"frame-{i:05d}", options) for i in range(3)]
    collate = Collate(SMALL.voxels, Augmentation(lidar_sweeps=2), grid=loss.grid if loss.cells else None)
    batch = collate(frames)
    assert batch.voxels.sites.batch_size == 9
    before = method(batch, Progress(0, 0, 2))
    assert before.keys() == method.weights.keys() == {"semantic", "spatial_temporal", "unpaired"}
    assert before["unpaired"] == 0, "self-training has not begun"
    after = method(batch, Progress(5, 1, 2))
    assert after["unpaired"] > 0
    assert not torch.equal(before["semantic"], after["semantic"]), "own labels replace the teacher's"
    assert torch.equal(before["spatial_temporal"], after["spatial_temporal"]), "always the teacher's labels"
    sum(after.values()).backward()
    frozen = {"projections.image.weight", "projections.image.bias"} if image_features == "frozen" else set()
    for name, parameter in method.student.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name
    assert all(p.grad is None for p in teacher.parameters())


def test_without_semantic_consistency_every_trained_parameter_still_gets_a_gradient():
    """Parallel workers wait for the gradient of every parameter that wants one."""
    torch.manual_seed(0)
    loss = DistillLoss(semantic=0.0, spatial_temporal=1.0, grid=5.0)
    method = method_of(loss, build_teacher(RANDOM, VOCABULARY)).train()
    batch = Collate(SMALL.voxels, grid=5.0)([made_up_frame(f"frame-{i:05d}") for i in range(3)])
    sum(method(batch, Progress(0, 0, 1)).values()).backward()
    for name, parameter in method.student.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_presets_replay(tmp_path: Path):
    for preset in PRESETS.values():
        file = tmp_path / "config.yaml"
        file.write_text(dump(preset))
        assert load(DistillConfig, file) == preset


def tiny(tiny_world, storage, **loop) -> DistillConfig:
    train, val = map(str, tiny_world)
    preset = PRESETS["synthetic"]
    return replace(
        preset,
        data=SegmentationData(train, val),
        teacher=RANDOM,
        student=SMALL,
        loop=replace(preset.loop, **{"epochs": 2, "batch": 2, "log_every": 1, **loop}),
        run=RunConfig("tiny", str(storage)),
    )


@pytest.fixture(scope="module")
def trained(tiny_world, run_storage):
    """A trained run: its config, its result, and what it printed."""
    config, printed = tiny(tiny_world, run_storage), io.StringIO()
    with contextlib.redirect_stdout(printed):
        distill.run(config)
    return config, json.loads((run_storage / "tiny" / "result.json").read_text()), printed.getvalue()


def test_the_whole_job(trained, run_storage):
    config, result, printed = trained
    assert result["status"] == "finished"
    for name in (
        *(f"label_free/miou{part}" for part in ("", "_seen", "_unseen")),
        "teacher/miou",
        "random/miou",
    ):
        assert 0 <= result["metrics"][name] <= 1
    folder = run_storage / "tiny"
    assert load(DistillConfig, folder / "config.yaml") == config
    assert Path(result["checkpoint"]).is_dir()
    drawn = {path.name for path in (folder / "pictures").iterdir()}
    assert {"losses.png", "confusion_student.png", "birds_eye_00000.png"} <= drawn
    assert (
        "student" in printed
        and "result.json" in printed
        and "\nnext: python -m trainables.finetune" in printed
    )


def test_evaluated_the_saved_student_has_the_scores_of_the_training(trained, tiny_world, run_storage):
    """And a second student, here the untrained one, has its own, and its errors beside them."""
    folder, run = run_storage / "tiny", RunConfig("again", str(run_storage))
    config = evaluate.EvaluateConfig(
        student=str(folder / "student"),
        data=EvaluationData(str(tiny_world[1])),
        teacher=RANDOM,
        against=str(folder / "initial"),
        run=run,
    )
    evaluate.run(config)
    again = json.loads((run_storage / "again" / "result.json").read_text())["metrics"]
    assert "against/miou" in again
    for name in again:
        assert again[name] == trained[1]["metrics"][name.replace("against/", "random/")], name
    drawn = {path.name for path in (run_storage / "again" / "pictures").iterdir()}
    assert {"errors_00000.png", "classes_00000.png", "confusion_against.png"} <= drawn


def test_mlflow_has_the_run(trained):
    from mlflow import MlflowClient

    _, result, _ = trained
    run = MlflowClient(result["mlflow"]["tracking_uri"]).get_run(result["mlflow"]["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer.name"] == "adamw"
    assert run.data.metrics["label_free/miou"] == pytest.approx(result["metrics"]["label_free/miou"])
    assert len(run.inputs.dataset_inputs) == 2


def test_resumed_it_is_the_same_run(trained, run_storage):
    config, result, _ = trained
    with pytest.raises(ConfigError, match=r"--run.resume true"):
        distill.run(config)
    distill.run(replace(config, run=replace(config.run, resume=True)))
    again = json.loads((run_storage / "tiny" / "result.json").read_text())
    assert again["metrics"] == result["metrics"]
    assert again["mlflow"]["run_id"] == result["mlflow"]["run_id"]


@pytest.mark.ray
def test_bad_input_ends_with_one_clear_line(tiny_world, tmp_path):
    good = tiny(tiny_world, tmp_path / "runs")
    other = tmp_path / "other"
    write_shards(MadeUp(4), None, str(other), ReadOptions(image_size=(32, 48)), 2, progress=False)
    train, val = map(str, tiny_world)
    mistakes = [
        (replace(good, data=SegmentationData(str(tmp_path / "nowhere"), val)), ShardError, "nowhere"),
        (replace(good, data=SegmentationData(train, str(other))), ShardError, "class"),
        (replace(good, data=SegmentationData(None, val)), ConfigError, "data.train"),
        (replace(good, scale=replace(good.scale, workers=99)), ClusterError, "lower scale.workers to"),
        (replace(good, loop=replace(good.loop, batch=64)), ConfigError, "write --loop.batch 4"),
        (
            replace(good, tracking=replace(good.tracking, uri="http://127.0.0.1:9")),
            TrackingError,
            "127.0.0.1:9",
        ),
        (replace(good, run=RunConfig("x", "/proc/nowhere")), StorageError, "/proc/nowhere"),
    ]
    for config, kind, message in mistakes:
        with pytest.raises(kind, match=message) as caught:
            distill.run(config)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs" / "tiny" / "result.json").exists()


@pytest.mark.ray
def test_shards_without_labels_are_compared_and_drawn(tiny_world, tmp_path):
    """Who has no labels sees how far student and teacher agree, and where they do not."""
    manifest = json.loads((tiny_world[1] / "manifest.json").read_text())
    unlabeled = tmp_path / "unlabeled"
    unlabeled.mkdir()
    for file in tiny_world[1].glob("*.parquet"):
        (unlabeled / file.name).write_bytes(file.read_bytes())
    manifest["about"]["labels"] = None
    (unlabeled / "manifest.json").write_text(json.dumps(manifest))
    data = SegmentationData(str(tiny_world[0]), str(unlabeled))
    distill.run(replace(tiny(tiny_world, tmp_path / "runs"), data=data))
    result = json.loads((tmp_path / "runs" / "tiny" / "result.json").read_text())
    assert result["status"] == "finished" and not any("miou" in name for name in result["metrics"])
    assert {"unlabeled/agreement_teacher", "unlabeled/confidence"} <= result["metrics"].keys()
    assert list((tmp_path / "runs" / "tiny" / "pictures").glob("birds_eye_*.png"))


@pytest.mark.ray
def test_two_epochs_on_the_real_frame(ray_session, real_nuscenes, tmp_path):
    """The same code on bytes that this project did not write: finite losses that fall."""
    shards = tmp_path / "shards"
    source = NuScenes(real_nuscenes, "v1.0-mini")
    write_shards(source, None, str(shards), ReadOptions(image_size=(112, 192)), progress=False)
    preset = PRESETS["synthetic"]
    distill.run(
        replace(
            preset,
            data=SegmentationData(str(shards)),
            loop=replace(preset.loop, epochs=2, batch=1, log_every=1),
            scale=replace(preset.scale, workers=1),
            run=RunConfig("real", str(tmp_path / "runs")),
        )
    )
    events = [json.loads(line) for line in (tmp_path / "runs/real/history.jsonl").read_text().splitlines()]
    losses = [e["values"]["loss/total"] for e in events if e["kind"] == "metrics"]
    assert len(losses) == 2
    assert np.isfinite(losses).all()
    assert losses[1] < losses[0]
