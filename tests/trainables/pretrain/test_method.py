"""PPKT and SLidR: losses against loops, gradients, frozen 2D networks, and the whole job on a tiny world."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F

from datasets.nuscenes.source import NuScenes
from datasets.synthetic.config import PRESETS as WORLDS
from datasets.synthetic.generate import generate
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, DataError, TeacherError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import RunConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.images import encode_numbers
from scenelift.samples.superpixels import with_superpixels
from scenelift.shards.write import write_shards
from scenelift.teachers.config import TeacherConfig
from scenelift.train.method import Progress
from tests.made.frames import CAMERAS, VOCABULARY, made_up_frame
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


def same(got, want, inputs):
    """Equal in value and in the gradients of the inputs."""
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(loss, inputs) for loss in (got, want)]
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        assert one.abs().sum() > 0


def loop_nce(points, pixels, temperature):
    terms = []
    for i in range(len(points)):
        similar = [torch.exp(points[i] @ pixel / temperature) for pixel in pixels]
        terms.append(-torch.log(similar[i] / sum(similar)))
    return sum(terms) / len(terms)


def test_ppkt_equals_a_loop_over_pairs():
    torch.manual_seed(0)
    points, pixels = (torch.randn(9, 5, requires_grad=True) for _ in range(2))
    units = [[row / row.square().sum().sqrt() for row in rows] for rows in (points, pixels)]
    same(contrast.ppkt(points, pixels, 0.07), loop_nce(*units, 0.07), (points, pixels))


def loop_means(grid, superpixels, align):
    """{(image, superpixel): mean unit feature}, from the grid upsampled to all pixels."""
    full = F.interpolate(grid, superpixels.shape[1:], mode="bilinear", align_corners=align)
    unit = full / full.square().sum(1, keepdim=True).sqrt()
    return {
        (i, s): torch.stack([unit[i, :, r, c] for r, c in torch.nonzero(superpixels[i] == s)]).mean(0)
        for i in range(len(grid))
        for s in superpixels[i].unique().tolist()
    }


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("cells", [(3, 5), (1, 4), (2, 1), (11, 14), (20, 30)])
def test_mean_pixels_equal_those_of_the_upsampled_map(align, cells):
    torch.manual_seed(0)
    grid = torch.randn(2, 6, *cells, requires_grad=True)
    superpixels = torch.randint(0, 5, (2, 11, 14))
    superpixels[superpixels == 3] = 4
    got = contrast.mean_pixels(grid, superpixels, 7, align)
    want = loop_means(grid, superpixels, align)
    assert got.shape == (2, 7, 6)
    for empty in (3, 5, 6):
        assert (got[:, empty] == 0).all()
    weight = torch.randn(2, 7, 6)
    total = sum((weight[i, s] * mean).sum() for (i, s), mean in want.items())
    for (i, s), mean in want.items():
        assert torch.allclose(got[i, s], mean, atol=1e-5)
    same((weight * got).sum(), total, (grid,))


@pytest.mark.parametrize("align", [True, False])
def test_slidr_equals_a_loop_over_superpixels(align):
    torch.manual_seed(0)
    grid = torch.randn(2, 6, 3, 4, requires_grad=True)
    points = torch.randn(30, 6, requires_grad=True)
    superpixels = torch.randint(0, 9, (2, 9, 12))
    pixels = torch.stack([torch.randint(0, size, (30,)) for size in (2, 9, 12)], 1)
    shown = {}
    for point, (i, r, c) in zip(points, pixels.tolist(), strict=True):
        shown.setdefault((i, superpixels[i, r, c].item()), []).append(point / point.norm())
    assert len(shown) < 18, "superpixels without points must be left out"
    means = loop_means(grid, superpixels, align)
    k = [torch.stack(shown[key]).mean(0) for key in shown]
    q = [means[key] for key in shown]
    got = contrast.slidr(points, pixels, grid, superpixels, 0.07, align)
    same(got, loop_nce(k, q, 0.07), (points, grid))


def test_opposite_neighbours_leave_gradients_finite():
    """Half way between two opposite cells a feature has no direction."""
    grid = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).repeat(1, 4, 1, 1).requires_grad_()
    means = contrast.mean_pixels(grid, torch.zeros(1, 1, 3, dtype=torch.long), 1, align_corners=True)
    means.sum().backward()
    assert torch.isfinite(means).all() and torch.isfinite(grid.grad).all()


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


def test_a_quarter_of_the_resolution_is_torchvisions_dilated_resnet(tmp_path):
    """As SLidR's ResNet-50 is made, by the same weights; and the wrappings that files of weights come in."""
    torch.manual_seed(0)
    kind = torchvision.models.resnet.Bottleneck
    other = torchvision.models.ResNet(kind, [2, 2, 2, 2], replace_stride_with_dilation=[True] * 3).eval()
    state = other.state_dict()
    moco = {f"module.encoder_q.{name}": value for name, value in state.items()}
    torch.save({"epoch": 800, "state_dict": moco}, tmp_path / "moco.pth.tar")
    safetensors.torch.save_file(state, tmp_path / "plain.safetensors")
    images = torch.randint(0, 255, (1, 3, 36, 52), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (images / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    with torch.no_grad():
        want = torch.nn.Sequential(*list(other.children())[:-2])(pixels)
    assert want.shape == (1, 2048, 9, 13)
    for name in ("moco.pth.tar", "plain.safetensors"):
        config = ImageBackboneConfig("resnet26", str(tmp_path / name), output_stride=4)
        backbone = build_image_backbone(config, RANDOM, VOCABULARY).train()
        assert feature_width(backbone, config, (36, 52)) == 2048
        assert torch.allclose(backbone(images), want, rtol=1e-4, atol=1e-4)


def test_random_weights_are_the_same_everywhere():
    config = ImageBackboneConfig("resnet18", "random")
    first = build_image_backbone(config, RANDOM, VOCABULARY)
    torch.rand(3)
    state = torch.get_rng_state()
    second = build_image_backbone(config, RANDOM, VOCABULARY)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_wrong_image_networks_end_with_one_line(tmp_path):
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "empty.pth")
    state = torchvision.models.resnet18().state_dict()
    torch.save(state | {"conv1.weight": torch.zeros(1)}, tmp_path / "shape.pth")
    torch.save({"state_dict": Path()}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("no weights")
    mistakes = [
        (("resnet5O", "random"), ConfigError, "did you mean resnet50"),
        (("resnet18", None), ConfigError, "images.weights"),
        (("teacher", "random"), ConfigError, "images.weights"),
        (("resnet18", "nowhere.pth"), TeacherError, "no file nowhere.pth"),
        (("resnet18", str(tmp_path / "empty.pth")), TeacherError, "conv1.weight and .* others are missing"),
        (("resnet18", str(tmp_path / "shape.pth")), TeacherError, "size mismatch for conv1.weight"),
        (("resnet18", str(tmp_path / "code.pth")), TeacherError, "more than tensors"),
        (("resnet18", str(tmp_path / "text.pth")), TeacherError, "not a weights file"),
        (("vit_tiny_patch16_224", "random", 8), ConfigError, "output_stride 8"),
        (("convnext_atto", "random", 4), ConfigError, "output_stride 4"),
        (("resnet18", "random", 2), ConfigError, "output_stride 2"),
        (("vit_tiny_patch16_224", "random"), ConfigError, "augmentation.image.size"),
    ]
    for arguments, kind, message in mistakes:
        with pytest.raises(kind, match=message) as caught:
            config = ImageBackboneConfig(*arguments)
            feature_width(build_image_backbone(config, RANDOM, VOCABULARY), config, (32, 64))
        assert "\n" not in str(caught.value)


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


@pytest.mark.ray
def test_the_whole_job(ray_session, tmp_path):
    world = replace(WORLDS["tiny"], out=tmp_path / "world")
    generate(world)
    source, shards = NuScenes(world.out, world.version), {}
    for superpixels in (0, 20):
        shards[superpixels] = str(tmp_path / f"shards-{superpixels}")
        options = ReadOptions(image_size=(32, 48), superpixels=superpixels)
        write_shards(source, "train", shards[superpixels], options, 2, progress=False)
    config = small(
        "slidr",
        data=SegmentationData(shards[20]),
        loop=replace(PRESETS["synthetic"].loop, epochs=2, batch=2, log_every=1),
        run=RunConfig("tiny", str(tmp_path / "runs")),
    )
    with pytest.raises(DataError, match="--superpixels"):
        pretrain.run(replace(config, data=SegmentationData(shards[0])))
    pretrain.run(config)
    folder = tmp_path / "runs" / "tiny"
    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "finished" and result["metrics"] == {}
    events = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    losses = [event["values"]["loss/slidr"] for event in events if event["kind"] == "metrics"]
    assert len(losses) == 4 and np.isfinite(losses).all() and min(losses) > 0
    student, before = Student.load(folder / "student"), Student.load(folder / "initial")
    assert student.heads.keys() == {"contrast"} and student.projections.keys() == {"image"}
    changed = [
        not torch.equal(one, other)
        for one, other in zip(student.parameters(), before.parameters(), strict=True)
    ]
    assert all(changed)


def test_a_pretrained_student_is_sent_to_fine_tuning_when_it_is_asked_for_classes(tmp_path):
    student = Student(StudentConfig(), 1, torch.zeros(3, 0), VOCABULARY, {"contrast": 8})
    with pytest.raises(ConfigError, match=r"trainables\.finetune --start runs/x/student"):
        evaluate._require_classes(student, "runs/x/student", None)
