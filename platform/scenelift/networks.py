"""Sparse 3D backbones: MinkUNet in any size."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scenelift.errors import ConfigError
from scenelift.sparse import BatchNorm, Engine, InverseConv, StridedConv, SubmanifoldConv, Voxels


@dataclass(frozen=True)
class MinkUNetConfig:
    """A sparse residual U-Net; the defaults are MinkUNet14A."""

    stem: int = 32
    """Channels of the first convolution."""
    encoder: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each level going down; every level halves the resolution."""
    decoder: tuple[int, ...] = (128, 128, 96, 96)
    """Channels of each level going up; as many levels as the encoder has."""
    blocks: int = 1
    """Residual blocks a level."""
    engine: Engine = "auto"
    """Sparse convolution engine: spconv where it is installed, or plain torch."""

    def __post_init__(self) -> None:
        if len(self.encoder) != len(self.decoder) or not self.encoder:
            raise ConfigError(
                f"a U-Net has as many decoder as encoder levels, not {len(self.decoder)} and {len(self.encoder)}"
            )


MINKUNET14A = MinkUNetConfig()
MINKUNET_TINY = MinkUNetConfig(stem=16, encoder=(24, 32, 48), decoder=(48, 32, 32))


class Sequence(nn.Module):
    """One sparse convolution, batch norm and ReLU on the features."""

    def __init__(self, conv: SubmanifoldConv | StridedConv | InverseConv, momentum: float) -> None:
        super().__init__()
        self.conv = conv
        self.norm = BatchNorm(conv.out_channels, momentum=momentum)

    def forward(self, voxels: Voxels) -> Voxels:
        voxels = self.conv(voxels)
        return voxels.with_features(torch.relu(self.norm(voxels.features)))


class BasicBlock(nn.Module):
    """Two 3x3x3 submanifold convolutions and a shortcut (1x1x1 when the width changes)."""

    def __init__(self, in_channels: int, out_channels: int, engine: Engine) -> None:
        super().__init__()
        self.first = Sequence(SubmanifoldConv(in_channels, out_channels, engine=engine), momentum=0.1)
        self.second = SubmanifoldConv(out_channels, out_channels, engine=engine)
        self.norm = BatchNorm(out_channels, momentum=0.1)
        self.shortcut = nn.Sequential()
        if in_channels != out_channels:
            self.shortcut.append(nn.Linear(in_channels, out_channels, bias=False))
            self.shortcut.append(BatchNorm(out_channels, momentum=0.05))

    def forward(self, voxels: Voxels) -> Voxels:
        out = self.second(self.first(voxels))
        features = self.norm(out.features) + self.shortcut(voxels.features)
        return voxels.with_features(torch.relu(features))


class MinkUNet(nn.Module):
    """Sparse residual U-Net (Choy et al. 2019), as CLIP2Scene uses it for ScanNet.

    Takes voxels with `in_channels` features, returns [V, out_channels] for the same voxels in the same order.
    """

    def __init__(self, in_channels: int, config: MinkUNetConfig) -> None:
        super().__init__()
        engine = config.engine
        self.stem = Sequence(SubmanifoldConv(in_channels, config.stem, engine=engine), momentum=0.05)
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        skips = [config.stem]
        for width in config.encoder:
            self.down.append(Sequence(StridedConv(skips[-1], skips[-1], engine=engine), momentum=0.05))
            self.encoder.append(_blocks(skips[-1], width, config))
            skips.append(width)
        channels = skips.pop()
        for width in config.decoder:
            self.up.append(Sequence(InverseConv(channels, width, engine=engine), momentum=0.05))
            self.decoder.append(_blocks(width + skips.pop(), width, config))
            channels = width
        self.out_channels = channels

    def forward(self, voxels: Voxels) -> Tensor:
        voxels = self.stem(voxels)
        skips = []
        for down, blocks in zip(self.down, self.encoder, strict=True):
            skips.append(voxels)
            voxels = blocks(down(voxels))
        for up, blocks in zip(self.up, self.decoder, strict=True):
            voxels = up(voxels)
            voxels = blocks(voxels.with_features(torch.cat((voxels.features, skips.pop().features), 1)))
        return voxels.features


def _blocks(in_channels: int, out_channels: int, config: MinkUNetConfig) -> nn.Sequential:
    widths = [in_channels, *[out_channels] * config.blocks]
    return nn.Sequential(*(BasicBlock(a, b, config.engine) for a, b in itertools.pairwise(widths)))
