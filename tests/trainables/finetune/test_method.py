"""Fine-tuning: which labels it sees, what it takes over, what it leaves alone, and the whole job once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scenelift.config import files
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, DataError, SceneliftError
from scenelift.evaluation.config import ValidationConfig
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.lovasz import lovasz_softmax
from scenelift.nn.student import Student
from scenelift.nn.transfer import load_backbone
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.runs.history import Origin
from scenelift.samples.config import ReadOptions
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.write import write_shards
from scenelift.train.config import ScaleConfig
from scenelift.train.method import Progress
from scenelift.train.optimizer import build_optimizer
from scenelift.train.plan import Plan
from tests.made.frames import VOCABULARY, MadeUp, made_up_frame
from tests.made.validation import FakeShards
from trainables.common.config import SegmentationData
from trainables.evaluate import run as evaluate
from trainables.evaluate.config import EvaluationData
from trainables.finetune import task as finetune
from trainables.finetune.config import PRESETS, FinetuneConfig, FinetuneLoss, LabelsConfig
from trainables.finetune.method import FineTuning

SMALL = StudentConfig(VoxelConfig(4.0, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,)))
OTHER = Vocabulary("other-2", ("cat", "dog"), (("cat",), ("dog",)), ((1, 2, 3),) * 2)
"""A class list that has nothing in common with that of the labels."""


def pretrained(config=SMALL, point_features=1):
    """A student as distillation leaves it, of other classes, with statistics of its own."""
    torch.manual_seed(7)
    student = Student(config, point_features, torch.randn(2, 6), OTHER, {"semantic": 6})
    for name, buffer in student.backbone.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return student.eval()


def batch_of(count=3):
    return Collate(SMALL.voxels, images=False)([made_up_frame(f"frame-{i:05d}") for i in range(count)])


class Listed:
    """Shards of which only the scenes are known."""

    def __init__(self, *scenes):
        self.scenes = scenes

    def __len__(self):
        return len(self.scenes)


def test_frame_level_takes_every_sth_frame():
    shards = Listed(*"aaaabbbbcccc" * 20)
    for fraction, stride in ((1, 1), (0.5, 2), (0.25, 4), (0.1, 10), (0.05, 20), (0.01, 100)):
        assert list(LabelsConfig(fraction).frames(shards)) == list(range(240))[::stride]
    assert list(LabelsConfig(0.01).frames(Listed("a", "b"))) == [0], "at least one"


def test_scene_level_takes_all_frames_of_every_sth_scene():
    shards = Listed(*"aabbbccddddea")
    half = LabelsConfig(0.5, "scene").frames(shards)
    assert [shards.scenes[i] for i in half] == list("bbbdddd"), "SLidR counts scenes and takes every second"
    assert LabelsConfig(0.01, "scene").frames(shards) == [0, 1, 12], "at least one scene"
    assert list(LabelsConfig(1, "scene").frames(shards)) == list(range(13))


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.75, 0.3, 1.5])
def test_fractions_that_no_stride_gives_are_refused(fraction):
    with pytest.raises(ConfigError, match=r"one over a whole number|fraction must be"):
        LabelsConfig(fraction)


def test_the_losses_are_those_of_each_voxels_first_point():
    student = Student(SMALL, 1, torch.zeros(3, 0), VOCABULARY, {"classifier": 3})
    method, batch = FineTuning(student, FinetuneLoss()).train(), batch_of()
    logits = student.class_logits(student(batch.voxels))
    first: dict[int, int] = {}
    for point, voxel in enumerate(batch.point_voxel.tolist()):
        first.setdefault(voxel, point)
    labeled = [v for v in range(len(logits)) if batch.labels[first[v]] > 0]
    targets = torch.stack([batch.labels[first[v]] - 1 for v in labeled])
    assert 0 < len(labeled) < len(logits) < len(batch.labels), (
        "some voxels are ignored, some hold more points"
    )
    losses = method(batch, Progress(0, 0, 1))
    want = -torch.log_softmax(logits[labeled], 1)[range(len(targets)), targets].mean()
    assert losses["cross_entropy"].item() == pytest.approx(want.item(), rel=1e-5)
    assert losses["lovasz"].item() == pytest.approx(lovasz_softmax(logits[labeled], targets).item(), rel=1e-5)
    assert method.weights == {"cross_entropy": 1.0, "lovasz": 1.0}
    alone = FineTuning(student, FinetuneLoss(lovasz=0))
    assert alone(batch, Progress(0, 0, 1)).keys() == alone.weights.keys() == {"cross_entropy"}


def test_a_batch_without_labels_gives_zero_with_a_gradient():
    student = Student(SMALL, 1, torch.zeros(3, 0), VOCABULARY, {"classifier": 3})
    batch = replace(batch_of(), labels=torch.zeros_like(batch_of().labels))
    losses = FineTuning(student, FinetuneLoss()).train()(batch, Progress(0, 0, 1))
    sum(losses.values()).backward()
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert all(p.grad is not None for p in student.parameters()), "every rank takes part in every reduction"


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_backbone_keeps_weights_and_statistics(freeze):
    student = Student(SMALL, 1, torch.zeros(3, 0), VOCABULARY, {"classifier": 3})
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    method = FineTuning(student, FinetuneLoss(), freeze=freeze).train()
    optimizer = build_optimizer(PRESETS["nuscenes"].optimizer, student)
    for _ in range(3):
        optimizer.zero_grad()
        sum(method(batch_of(), Progress(0, 0, 1)).values()).backward()
        optimizer.step()
    changed = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"heads.classifier.weight", "heads.classifier.bias"} <= changed
    statistics = {name for name in changed if name.endswith("running_mean")}
    assert bool(statistics) != freeze
    assert any(name.startswith("backbone.") for name in changed) != freeze


def test_late_in_training_statistics_are_kept_and_used_while_weights_go_on():
    student = Student(SMALL, 1, torch.zeros(3, 0), VOCABULARY, {"classifier": 3})
    method, batch = FineTuning(student, FinetuneLoss(), free_norms=0.5).train(), batch_of()
    statistics = lambda: [b.clone() for n, b in student.backbone.named_buffers() if "running" in n]  # noqa: E731
    same = lambda a, b: all(map(torch.equal, a, b))  # noqa: E731
    before = statistics()
    early = method(batch, Progress(4, 4, 10))["cross_entropy"]
    after = statistics()
    assert not same(before, after)
    late = method(batch, Progress(5, 5, 10))["cross_entropy"]
    late.backward()
    assert same(after, statistics()) and not torch.equal(early, late)
    assert all(p.grad is not None for p in student.backbone.parameters())
    method.train()  # as a validation between two epochs leaves it
    method(batch, Progress(6, 6, 10))
    assert same(after, statistics())


def test_the_backbone_is_taken_over_whatever_the_classes(tmp_path, capsys):
    start = pretrained()
    start.save(tmp_path)
    config = FinetuneConfig(start=str(tmp_path), student=SMALL)
    student = finetune.make_student(config, 1, VOCABULARY)
    for name, tensor in student.backbone.state_dict().items():
        assert torch.equal(tensor, start.backbone.state_dict()[name]), name
    random = finetune.make_student(replace(config, start=None), 1, VOCABULARY)
    assert torch.equal(student.heads["classifier"].weight, random.heads["classifier"].weight), "same seed"
    assert student.heads["classifier"].weight.shape == (3, 8) and list(student.heads) == ["classifier"]
    assert student.vocabulary == VOCABULARY and student.text.shape == (3, 0)
    said = capsys.readouterr().err
    whole = sum(p.numel() for p in student.backbone.parameters())
    assert f"{whole:,} of the backbone's {whole:,}" in said and "warning" not in said


def test_a_head_from_text_answers_as_the_start_does(tmp_path):
    torch.manual_seed(3)
    start = Student(SMALL, 1, torch.randn(3, 6), VOCABULARY, {"semantic": 6})
    start.save(tmp_path / "named")
    config = FinetuneConfig(start=str(tmp_path / "named"), student=SMALL, head="text")
    student = finetune.make_student(config, 1, VOCABULARY).eval()
    frame = made_up_frame("frame-00003")
    assert (student.predict(frame) == start.eval().predict(frame)).all()
    pretrained().save(tmp_path / "other")
    with pytest.raises(ConfigError, match="has other classes than the labels"):
        finetune.make_student(replace(config, start=str(tmp_path / "other")), 1, VOCABULARY)
    with pytest.raises(ConfigError, match=r"needs a student .*--start"):
        finetune.make_student(replace(config, start=None), 1, VOCABULARY)
    student.save(tmp_path / "tuned")
    with pytest.raises(ConfigError, match="does not classify by text"):
        finetune.make_student(replace(config, start=str(tmp_path / "tuned")), 1, VOCABULARY)


def test_a_start_that_sees_clouds_otherwise_is_named(capsys):
    make = lambda config, features=1: Student(  # noqa: E731
        config, features, torch.zeros(3, 0), VOCABULARY, {"classifier": 3}
    )
    load_backbone(make(SMALL), pretrained(replace(SMALL, voxels=VoxelConfig(2.0, "geometry", 1.0))), "x")
    assert "--student.voxels.size 2.0" in capsys.readouterr().err
    load_backbone(make(SMALL, 3), pretrained(), "x")
    said = capsys.readouterr().err
    taken, whole = said.split("copied from x: ")[1].split(" parameters")[0].split(" of the backbone's ")
    assert _number(whole) - _number(taken) == 27 * 6 * 8, "all but the first convolution: 3 + 3 channels in"
    assert "1 features, these have 3" in said
    with pytest.raises(ConfigError, match=r"--student.network.stem 5 --student.network.encoder 7"):
        load_backbone(make(SMALL), pretrained(replace(SMALL, network=NetworkConfig(5, (7,), (9,)))), "x")


def _number(text):
    return int(text.replace(",", ""))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FinetuneConfig(augmentation=Augmentation(lidar_sweeps=1)),
            "write --augmentation.lidar_sweeps 0",
        ),
        (lambda: FinetuneConfig(augmentation=Augmentation(image=ImageAugmentation(flip=True))), "no images"),
        (lambda: FinetuneLoss(0, 0), "nothing to learn"),
        (lambda: FinetuneConfig(free_norms=1.5), "free_norms must be at least 0 and at most 1"),
    ],
)
def test_what_would_be_ignored_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_presets_replay_and_few_frames_get_enough_steps(tmp_path):
    for preset in PRESETS.values():
        file = tmp_path / "config.yaml"
        file.write_text(dump(preset))
        assert load(FinetuneConfig, file) == preset
    config = replace(PRESETS["synthetic"], min_steps=300)
    assert finetune.long_enough(config, 2).loop.epochs == 300, "one step an epoch"
    assert finetune.long_enough(config, 17).loop.epochs == 38
    assert finetune.long_enough(config, 1000).loop.epochs == config.loop.epochs


@pytest.mark.parametrize("holdout_every", [0, 2])
def test_min_steps_are_made_on_the_frames_that_are_trained_on(holdout_every, monkeypatch):
    """Frames of held-out scenes make no steps."""
    train = FakeShards(40, 10)
    train.point_features = 1
    monkeypatch.setattr(finetune, "open_data", lambda data, needs: (train, None))
    validation = ValidationConfig(holdout_every)
    labels = LabelsConfig(0.1)
    config = replace(PRESETS["synthetic"], student=SMALL, min_steps=30, validation=validation, labels=labels)
    task = finetune.FinetuneTask(config)
    kept, _ = task.validation()
    assert Plan(len(kept), task.config.loop, 1).steps >= 30


def test_the_protocol_says_what_was_used():
    config = FinetuneConfig()
    assert config.protocol == "finetune 100%"
    assert replace(config, labels=LabelsConfig(0.01)).protocol == "finetune 1% frames"
    probe = replace(config, labels=LabelsConfig(0.05, "scene"), freeze=True)
    assert probe.protocol == "linear probing 5% scenes"


def test_the_origin_of_a_student_is_its_run(tmp_path):
    assert Origin.of(tmp_path / "student").method == "unknown"
    versions = []
    for name, seed, lr in (("a", 0, 0.1), ("b", 1, 0.1), ("c", 1, 0.2)):
        config = replace(PRESETS["nuscenes"], run=RunConfig(name))
        config = replace(config, loop=replace(config.loop, seed=seed))
        config = replace(config, optimizer=replace(config.optimizer, lr=lr))
        folder = _run_folder(tmp_path / name, config)
        for student in ("student", "checkpoints/step-00000003"):
            origin = Origin.of(folder / student)
            assert (origin.method, origin.run_id, origin.tag("teacher", "")) == ("ppkt", "abc", "RN50")
        assert Origin.of(folder / "initial").method == "random"
        versions.append(Origin.of(folder / "student").version)
    assert versions[0] == versions[1] != versions[2], "the seed makes no other training"


def _run_folder(folder: Path, config) -> Path:
    folder.mkdir(parents=True)
    tags = {"trainable": "pretrain", "method": "ppkt", "teacher": "RN50"}
    identity = {"run_id": "abc", "experiment": "pretrain", "tags": tags}
    (folder / "run.json").write_text(json.dumps(files.stamp(identity, 1)))
    (folder / "config.yaml").write_text(dump(config))
    return folder


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made-up") / "shards"
    write_shards(MadeUp(8), None, str(folder), ReadOptions(image_size=(8, 12)), 4, progress=False)
    return str(folder)


def job(shards, storage) -> FinetuneConfig:
    preset = PRESETS["synthetic"]
    return replace(
        preset,
        data=SegmentationData(shards, shards),
        labels=LabelsConfig(0.25),
        student=SMALL,
        loop=replace(preset.loop, epochs=1, log_every=1),
        min_steps=3,
        scale=ScaleConfig(workers=2),
        run=RunConfig("tuned", str(storage)),
    )


@pytest.fixture(scope="module")
def tuned(shards, run_storage):
    """The result of a run that started from the student of another data set."""
    start = _run_folder(run_storage / "start", PRESETS["nuscenes"]) / "student"
    pretrained().save(start)
    finetune.run(replace(job(shards, run_storage), start=str(start)))
    return json.loads((run_storage / "tuned" / "result.json").read_text())


def test_the_whole_job_from_another_data_sets_student(tuned, run_storage):
    assert tuned["status"] == "finished"
    assert 0 <= tuned["metrics"]["labeled/miou"] <= 1
    assert not any(name.startswith(("label_free", "teacher")) for name in tuned["metrics"])
    assert tuned["config"]["loop"]["epochs"] == 3, "two frames make one step an epoch"
    student, start = Student.load(run_storage / "tuned" / "student"), pretrained().backbone.state_dict()
    assert student.vocabulary == VOCABULARY
    trained = student.backbone.state_dict()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in trained.items())


def test_its_tags_name_the_labels_and_the_start(tuned):
    wanted = {
        "protocol": "finetune 25% frames",
        "labeled_frames": "2 of 8",
        "start": "ppkt",
        "start_run": "abc",
        "teacher": "RN50",
        "fraction": "0.25",
        "level": "frame",
        "seed": "0",
        "student": "custom",
        "trainable": "finetune",
        "dataset": "made-up v0",
    }
    assert wanted.items() <= _tags_of(tuned).items()


def test_evaluated_it_scores_the_same(tuned, shards, run_storage):
    student, run = str(run_storage / "tuned" / "student"), RunConfig("again", str(run_storage))
    evaluate.run(evaluate.EvaluateConfig(student, EvaluationData(shards), with_teacher=False, run=run))
    again = json.loads((run_storage / "again" / "result.json").read_text())
    assert again["metrics"] == tuned["metrics"]
    tags = _tags_of(again)
    assert tags["start"] == "finetune" and tags["protocol"] == "finetune 25% frames" and tags["seed"] == "0"
    assert tags["student"] == "custom" and tags["student_name"].endswith(", 4.0 m")


def _tags_of(result):
    from mlflow import MlflowClient

    return MlflowClient(result["mlflow"]["tracking_uri"]).get_run(result["mlflow"]["run_id"]).data.tags


@pytest.mark.ray
def test_bad_input_ends_with_one_clear_line(shards, tmp_path):
    good = job(shards, tmp_path / "runs")
    unlabeled = tmp_path / "unlabeled"
    unlabeled.mkdir()
    for file in Path(shards).glob("*.parquet"):
        (unlabeled / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((Path(shards) / "manifest.json").read_text())
    manifest["about"]["labels"] = None
    (unlabeled / "manifest.json").write_text(json.dumps(manifest))
    mistakes = [
        (replace(good, data=SegmentationData(str(unlabeled))), DataError, "no labels to learn from"),
        (replace(good, start=str(tmp_path / "nowhere")), SceneliftError, "does not hold a student"),
        (
            replace(good, labels=LabelsConfig(0.125)),
            ConfigError,
            "1 training samples do not fill one batch of 2; write --loop.batch 1",
        ),
    ]
    for config, kind, message in mistakes:
        with pytest.raises(kind, match=message) as caught:
            finetune.run(config)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs" / "tuned").exists()
