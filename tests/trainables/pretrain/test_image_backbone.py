"""Frozen 2D networks: their features, their weights, and what ends with one line."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision

from scenelift.errors import ConfigError, TeacherError
from scenelift.teachers.config import TeacherConfig
from tests.made.frames import VOCABULARY
from trainables.pretrain.config import ImageBackboneConfig
from trainables.pretrain.image_backbone import build_image_backbone, feature_width

RANDOM = TeacherConfig(weights="random", image_size=(28, 48))


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
