"""PPKT and SLidR: what is compared, gradients, superpixels, and the whole job on a tiny world."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from datasets.nuscenes.source import NuScenes
from datasets.synthetic.config import PRESETS as WORLDS
from datasets.synthetic.generate import generate
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, DataError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import with_superpixels
from scenelift.samples.images import encode_numbers
from scenelift.shards.write import write_shards
from scenelift.teachers.config import TeacherConfig
from scenelift.train.method import Progress
from scenelift.train.state import random_state, restore_random_state
from tests.made.frames import CAMERAS, VOCABULARY, made_up_frame
from tests.trainables.pretrain.test_losses import loop_means, loop_nce
from trainables.common.config import SegmentationData
from trainables.evaluate import run as evaluate
from trainables.pretrain import losses as contrast
from trainables.pretrain import task as pretrain
from trainables.pretrain.config import PRESETS, ContrastConfig, ImageBackboneConfig, PretrainConfig
from trainables.pretrain.image_backbone import build_image_backbone, feature_width
from trainables.pretrain.method import Pretrain

SMALL = StudentConfig(VoxelConfig(1.0, "geometry", 1 / 255), NetworkConfig(8, (8,), (8,)))
RANDOM = TeacherConfig(weights="random", image_size=(28, 48))
OPTIONS = ReadOptions(image_size=(28, 48))
START = Progress(0, 0, 1)


def small(method="ppkt", **changes) -> PretrainConfig:
    return replace(PRESETS["synthetic"], method=method, teacher=RANDOM, student=SMALL, **changes)


def made(config):
    """A method and a batch of three frames."""
    torch.manual_seed(0)
    images = build_image_backbone(config.images, config.teacher, VOCABULARY)
    width = feature_width(images, config.images, OPTIONS.image_size)
    channels = config.contrast.channels
    student = Student(
        config.student,
        1,
        torch.zeros(len(VOCABULARY.classes), 0),
        VOCABULARY,
        {"contrast": channels},
        {"image": (width, channels)},
    )
    return Pretrain(student, images, config).train()


def batch_of(*numbers):
    frames = [with_superpixels(made_up_frame(f"frame-{i:05d}", OPTIONS), 12) for i in numbers]
    return Collate(SMALL.voxels, superpixels=True)(frames)


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("method", ["ppkt", "slidr"])
def test_the_method_compares_each_point_with_what_shows_it(method, align):
    """Wiring: the loss of a batch from its parts, with the tokens upsampled and every pair by itself."""
    config = small(method, images=ImageBackboneConfig(align_corners=align))
    pretraining = made(config)
    batch = batch_of(0, 1, 2)
    assert len(batch.pair_points) < config.contrast.pairs, "all pairs take part"
    losses = pretraining(batch, START)
    assert losses.keys() == pretraining.weights.keys() == {method}
    student = pretraining.student
    with torch.no_grad():
        features = student.heads["contrast"](student(batch.voxels))
        points = [features[batch.point_voxel[point]] for point in batch.pair_points]
        grid = student.projections["image"](pretraining.images(batch.images).movedim(1, 3)).movedim(3, 1)
        full = F.interpolate(grid, batch.images.shape[2:], mode="bilinear", align_corners=align)
        k = [point / point.norm() for point in points]
        q = [full[i, :, r, c] / full[i, :, r, c].norm() for i, r, c in batch.pair_pixels.tolist()]
        if method == "slidr":
            means, groups = loop_means(grid, batch.superpixels, align), {}
            for row, (i, r, c) in zip(k, batch.pair_pixels.tolist(), strict=True):
                groups.setdefault((i, batch.superpixels[i, r, c].item()), []).append(row)
            k = [torch.stack(rows).mean(0) for rows in groups.values()]
            q = [means[key] for key in groups]
    assert losses[method].item() == pytest.approx(loop_nce(k, q, 0.07).item(), rel=1e-3)


@pytest.mark.parametrize("method", ["ppkt", "slidr"])
def test_all_of_the_student_is_trained_and_nothing_else(method):
    config = small(method, images=ImageBackboneConfig("resnet18", "random", output_stride=8))
    pretraining = made(config)
    before = {name: value.clone() for name, value in pretraining.images.state_dict().items()}
    pretraining(batch_of(0, 1, 2), START)[method].backward()
    for name, parameter in pretraining.student.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in pretraining.images.parameters())
    after = pretraining.images.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "batch norms moved"


def test_remembered_features_are_those_of_the_frames():
    fresh = made(small(images=ImageBackboneConfig()))
    remembering = made(small(images=ImageBackboneConfig(cache_frames=2)))
    for numbers in ([0, 1, 2], [2, 0], [3, 1], [1, 0, 3]):
        batch = batch_of(*numbers)
        assert torch.allclose(remembering._image_features(batch), fresh.images(batch.images), atol=1e-5)
    assert list(remembering.cached) == ["frame-00000", "frame-00001"] and not fresh.cached
    with pytest.raises(ConfigError, match=r"images\.cache_frames"):
        small(augmentation=Augmentation(image=ImageAugmentation(flip=True)))


@pytest.mark.parametrize("method", ["ppkt", "slidr"])
def test_a_batch_without_pairs_costs_nothing_and_has_gradients(method):
    pretraining = made(small(method))
    alone = next(i for i in range(20) if not len(made_up_frame(f"frame-{i:05d}", OPTIONS).pair_points))
    loss = pretraining(batch_of(alone), START)[method]
    loss.backward()
    assert loss.item() == 0 and loss.dtype == torch.float32
    for name, parameter in pretraining.student.named_parameters():
        assert parameter.grad is not None and (parameter.grad == 0).all(), name
    assert contrast.info_nce(torch.zeros(0, 4), torch.zeros(0, 4), 0.07) == 0


def test_a_few_steps_lower_the_loss():
    for method in ("ppkt", "slidr"):
        pretraining = made(small(method))
        optimizer = torch.optim.AdamW(pretraining.student.parameters(), 1e-2)
        batch, found = batch_of(0, 1, 2), []
        for _ in range(12):
            optimizer.zero_grad()
            loss = pretraining(batch, START)[method]
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        assert found[-1] < 0.8 * found[0]


def test_superpixels_stay_true_when_photos_are_cropped_and_mirrored():
    """Each superpixel is painted in a color of its own: colors and numbers still agree afterwards."""
    size = (48, 80)
    segments = np.arange(size[0])[:, None] // 8 * 10 + np.arange(size[1])[None] // 8
    buffer = io.BytesIO()
    Image.fromarray(np.repeat(4 * segments[..., None], 3, 2).astype(np.uint8)).save(buffer, "PNG")
    frame = replace(
        made_up_frame("frame-00001", ReadOptions(image_size=size)),
        images=(buffer.getvalue(),) * len(CAMERAS),
        superpixels=(encode_numbers(segments),) * len(CAMERAS),
    )
    image = ImageAugmentation(crop=True, flip=True, size=(40, 72))
    collate = Collate(SMALL.voxels, Augmentation(image=image), superpixels=True)
    windows = set()
    for epoch in range(12):
        batch = collate([frame], epoch)
        painted = batch.images[:, 0].float() / 4
        number = batch.superpixels.float()
        # Colors are blended within a pixel of an edge, so only the inner pixels of superpixels are asked.
        inner = F.max_pool2d(number, 5, 1, 2) == -F.max_pool2d(-number, 5, 1, 2)
        assert inner.float().mean() > 0.1
        assert torch.equal(painted[inner], number[inner])
        windows |= {tuple(view.flatten().tolist()) for view in batch.superpixels}
    assert len(windows) == 24, "every photo gets a window of its own"


def test_the_paired_pixel_keeps_its_superpixel():
    """One point a superpixel, at its centre: after cropping and mirroring it still shows that superpixel."""
    size, block = (48, 80), 8
    segments = np.arange(size[0])[:, None] // block * 10 + np.arange(size[1])[None] // block
    centres = np.stack(np.mgrid[4 : size[0] : block, 4 : size[1] : block], -1).reshape(-1, 2)
    frame = made_up_frame("frame-00001", ReadOptions(image_size=size), points=len(centres))
    pairs = np.concatenate([np.zeros((len(centres), 1), int), centres], 1)
    frame = replace(
        frame,
        pair_points=np.arange(len(centres), dtype=np.int32),
        pair_pixels=pairs.astype(np.int16),
        superpixels=(encode_numbers(segments),) * len(CAMERAS),
    )
    image = ImageAugmentation(crop=True, flip=True, area=(0.6, 0.9))
    collate = Collate(SMALL.voxels, Augmentation(image=image), images=False, superpixels=True)
    for epoch in range(10):
        batch = collate([frame], epoch)
        i, r, c = batch.pair_pixels.unbind(1)
        assert torch.equal(batch.superpixels[i, r, c], batch.pair_points)
        assert 20 < len(batch.pair_points) <= len(centres)


def test_presets_replay_and_impossible_ones_are_refused(tmp_path: Path):
    for preset in PRESETS.values():
        file = tmp_path / "config.yaml"
        file.write_text(dump(preset))
        assert load(PretrainConfig, file) == preset
    with pytest.raises(ConfigError, match=r"trainables\.finetune"):
        replace(PRESETS["synthetic"], data=SegmentationData(None, "val"))
    for values in ({"temperature": 0.0}, {"pairs": 0}, {"channels": 0}):
        with pytest.raises(ConfigError, match=next(iter(values))):
            ContrastConfig(**values)


def test_ppkt_draws_the_same_pairs_after_a_restart():
    config = small(contrast=ContrastConfig(pairs=5))
    method, batch = made(config), batch_of(0, 1)
    assert len(batch.pair_points) > 5
    cpu = torch.device("cpu")
    state = random_state(cpu)
    losses = [method(batch, START)["ppkt"].item() for _ in range(2)]
    restore_random_state(state, cpu)
    assert losses[0] != losses[1] and method(batch, START)["ppkt"].item() == losses[0]


@pytest.fixture(scope="module")
def shards(ray_session, tmp_path_factory) -> dict[int, str]:
    """Superpixels of an image -> shards of a tiny world with them."""
    folder = tmp_path_factory.mktemp("tiny")
    world = replace(WORLDS["tiny"], out=folder / "world")
    generate(world)
    source, written = NuScenes(world.out, world.version), {}
    for superpixels in (0, 20):
        written[superpixels] = str(folder / f"shards-{superpixels}")
        options = ReadOptions(image_size=(32, 48), superpixels=superpixels)
        write_shards(source, "train", written[superpixels], options, 2, progress=False)
    return written


@pytest.fixture(scope="module")
def trained(shards, run_storage) -> Path:
    """Folder of a trained run of SLidR."""
    loop = replace(PRESETS["synthetic"].loop, epochs=2, batch=2, log_every=1)
    run = RunConfig("tiny", str(run_storage))
    pretrain.run(small("slidr", data=SegmentationData(shards[20]), loop=loop, run=run))
    return run_storage / "tiny"


def test_the_whole_job_logs_finite_losses(trained):
    result = json.loads((trained / "result.json").read_text())
    assert result["status"] == "finished" and result["metrics"] == {}
    events = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    losses = [event["values"]["loss/slidr"] for event in events if event["kind"] == "metrics"]
    assert len(losses) == 4 and np.isfinite(losses).all() and min(losses) > 0


def test_every_parameter_of_the_saved_student_is_trained(trained):
    student, before = Student.load(trained / "student"), Student.load(trained / "initial")
    assert student.heads.keys() == {"contrast"} and student.projections.keys() == {"image"}
    pairs = zip(student.parameters(), before.parameters(), strict=True)
    assert all(not torch.equal(one, other) for one, other in pairs)


def test_slidr_refuses_shards_without_superpixels(shards):
    with pytest.raises(DataError, match="--superpixels"):
        pretrain.run(small("slidr", data=SegmentationData(shards[0])))


def test_a_pretrained_student_is_sent_to_fine_tuning_when_it_is_asked_for_classes(tmp_path):
    student = Student(StudentConfig(), 1, torch.zeros(3, 0), VOCABULARY, {"contrast": 8})
    with pytest.raises(ConfigError, match=r"trainables\.finetune --start runs/x/student"):
        evaluate._require_classes(student, "runs/x/student", None)
