"""Frozen 2D networks whose features point clouds are contrasted with: a CLIP's image tower, or any timm model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from scenelift.config.build import nearest
from scenelift.errors import ConfigError, TeacherError, reason
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from trainables.pretrain.config import ImageBackboneConfig

_PREFIXES = ("", "module.", "module.encoder_q.", "backbone.")
"""Prefixes of weight names in files: none, DataParallel's, MoCo's query encoder's."""
_UNREADABLE = (AttributeError, OSError, RuntimeError, safetensors.SafetensorError, pickle.UnpicklingError)
"""What reading a file that does not contain weights raises."""


class ImageBackbone(nn.Module):
    """A frozen network that turns images uint8 [I, 3, H, W] into features [I, K, h, w]."""

    def train(self, mode: bool = True) -> ImageBackbone:
        """Stays in evaluation mode, with its batch norms, whatever the surrounding modules do."""
        return super().train(False)


class ClipImages(ImageBackbone):
    """The patch tokens of a CLIP, before their projection into the space of the text."""

    def __init__(self, config: TeacherConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.teacher = build_teacher(config, vocabulary)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.teacher.tokens(images)


class TimmImages(ImageBackbone):
    """The last features of a timm model; images are normalized as ImageNet's are."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ImageBackboneConfig) -> None:
        super().__init__()
        # The seed makes random weights the same in every process.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = _network(config)
        if config.weights != "random":
            _load(self.network, config)
        self.register_buffer("mean", torch.tensor(IMAGENET_DEFAULT_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_DEFAULT_STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        pixels = (images.float() / 255 - self.mean) / self.std
        return self.network.forward_intermediates(pixels, indices=1, intermediates_only=True)[0]


def build_image_backbone(
    config: ImageBackboneConfig, teacher: TeacherConfig, vocabulary: Vocabulary
) -> ImageBackbone:
    """The network in evaluation mode, on the CPU, without gradients; ConfigError for an unknown model or stride,
    TeacherError for weights that are not available."""
    return ClipImages(teacher, vocabulary) if config.model == "teacher" else TimmImages(config)


def feature_width(backbone: ImageBackbone, config: ImageBackboneConfig, size: tuple[int, int]) -> int:
    """Channels of the features of images of this (height, width), from one run of the network; ConfigError if it
    cannot read such images, or not at the requested stride."""
    try:
        features = backbone(torch.zeros((1, 3, *size), dtype=torch.uint8))
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"images.model {config.model} cannot read images of {size}; set augmentation.image.size, or another "
            f"images.output_stride: {reason}"
        ) from None
    stride, grid = config.output_stride, tuple(features.shape[2:])
    if stride is not None and grid != (-(-size[0] // stride), -(-size[1] // stride)):
        raise ConfigError(
            f"images.model {config.model} has no images.output_stride {stride}: images of {size} become "
            f"{grid} features"
        )
    return features.shape[1]


def _network(config: ImageBackboneConfig) -> Any:
    if not timm.is_model(config.model):
        known = ["teacher", *timm.list_models()]
        raise ConfigError(f"unknown images.model {config.model}; {nearest(config.model, known)}")
    stride = config.output_stride
    options: dict[str, Any] = {} if stride is None else {"output_stride": max(stride, 8)}
    try:
        network = timm.create_model(config.model, pretrained=False, num_classes=0, **options)
    except (AssertionError, NotImplementedError, TypeError) as error:  # raised by timm's models for a stride
        if stride is None:
            raise
        raise ConfigError(
            f"images.model {config.model} has no images.output_stride {stride}: {error}"
        ) from error
    if not hasattr(network, "forward_intermediates"):
        raise ConfigError(
            f"images.model {config.model} does not give a map of features; use resnet50, or teacher"
        )
    if stride == 4:
        _keep_quarter(network, config.model)
    return network


def _keep_quarter(network: Any, model: str) -> None:
    """From stride 8 to 4: a ResNet's second layer gets stride 1, and the dilation of all later layers doubles."""
    if not all(hasattr(network, name) for name in ("layer2", "layer3", "layer4")):
        raise ConfigError(f"images.output_stride 4 is for ResNets, not for images.model {model}")
    first, *rest = network.layer2
    for module in first.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    for module in nn.ModuleList([*rest, network.layer3, network.layer4]).modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            assert module.dilation == module.padding, "a ResNet keeps its sizes"
            module.dilation = module.padding = (2 * module.dilation[0], 2 * module.dilation[1])


def _load(network: nn.Module, config: ImageBackboneConfig) -> None:
    """Load a file's weights; those that the network lacks, such as a classifier's, are ignored."""
    assert config.weights is not None
    state = _read(Path(config.weights), config.model)
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    missing = {prefix: [name for name in names if prefix + name not in state] for prefix in _PREFIXES}
    prefix = min(_PREFIXES, key=lambda prefix: len(missing[prefix]))
    if missing[prefix]:
        raise TeacherError(
            f"{config.weights} does not hold weights of {config.model}: {missing[prefix][0]} and "
            f"{len(missing[prefix]) - 1} others are missing"
        )
    try:
        network.load_state_dict({name: state[prefix + name] for name in names}, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise TeacherError(f"{config.weights} does not fit {config.model}: {reason}") from None


def _read(path: Path, model: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise TeacherError(
            f"no file {path} with the weights of {model}; put it there, or set images.weights to its path"
        )
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        state = saved.get("state_dict", saved.get("model", saved))
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except _UNREADABLE as error:
        raise TeacherError(
            f"{path} is not a weights file, or holds more than tensors: {reason(error)}"
        ) from None
