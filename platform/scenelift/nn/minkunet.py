"""Sparse 3D backbones: one description of a network, and residual U-Nets in any size.

A network with a point branch is `scenelift.nn.spvcnn.SPVCNN`; `scenelift.nn.spvcnn.build_network` makes either.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from scenelift.errors import ConfigError
from scenelift.sparse.layers import BatchNorm, Engine, InverseConv, StridedConv, SubmanifoldConv, Voxels


@dataclass(frozen=True)
class NetworkConfig:
    """A sparse residual U-Net, with or without a point branch; the defaults are MinkUNet14A."""

    NAMED: ClassVar[dict[str, NetworkConfig]] = {}
    """`NETWORKS`, so that a command takes `--student.network spvcnn`."""
    stem: int = 32
    """Channels of the first convolution."""
    encoder: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each level going down; every level halves the resolution."""
    decoder: tuple[int, ...] = (128, 128, 96, 96)
    """Channels of each level going up; as many levels as the encoder has."""
    blocks: tuple[int, ...] = (1,)
    """Residual blocks of each level, those of the encoder before those of the decoder; one number: of all."""
    stem_convs: int = 1
    """Convolutions before the first level."""
    point_branch: bool = False
    """Carry features of every voxel past the coarse levels (SPVCNN), and return those of three places."""
    momentum: float = 0.05
    """Of batch norms outside of residual blocks and in their shortcuts; inside of them it is 0.1."""
    engine: Engine = "auto"
    """Sparse convolution engine: spconv where it is installed, or plain torch."""

    def __post_init__(self) -> None:
        levels = len(self.encoder)
        if len(self.decoder) != levels or not levels:
            raise ConfigError(
                f"a U-Net has as many decoder as encoder levels, not {len(self.decoder)} and {levels}"
            )
        if len(self.blocks) not in (1, 2 * levels):
            raise ConfigError(
                f"network.blocks takes one number, or {2 * levels} for {levels} levels down and up, "
                f"not {len(self.blocks)}"
            )
        if min(self.stem, self.stem_convs, *self.encoder, *self.decoder, *self.blocks) < 1:
            raise ConfigError("channels, blocks and convolutions of a network are at least 1")
        if not 0 < self.momentum <= 1:
            raise ConfigError(f"network.momentum is above 0 and up to 1, not {self.momentum}")
        if self.point_branch and levels < 2:
            raise ConfigError("network.point_branch needs a network of at least 2 levels")

    @property
    def stages(self) -> tuple[int, ...]:
        """Residual blocks of each level: encoder, then decoder."""
        return self.blocks if len(self.blocks) > 1 else self.blocks * 2 * len(self.encoder)


NETWORKS = {
    "minkunet14a": NetworkConfig(),
    "minkunet18a": NetworkConfig(blocks=(2,)),
    "minkunet34c": NetworkConfig(decoder=(256, 128, 96, 96), blocks=(2, 3, 4, 6, 2, 2, 2, 2)),
    "spvcnn": NetworkConfig(
        decoder=(256, 128, 96, 96), blocks=(2,), stem_convs=2, point_branch=True, momentum=0.1
    ),
    "tiny": NetworkConfig(stem=16, encoder=(24, 32, 48), decoder=(48, 32, 32)),
}
"""Networks by name; `tiny` is for the synthetic world."""
NetworkConfig.NAMED.update(NETWORKS)


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

    def __init__(self, in_channels: int, out_channels: int, config: NetworkConfig) -> None:
        super().__init__()
        self.first = Sequence(SubmanifoldConv(in_channels, out_channels, engine=config.engine), momentum=0.1)
        self.second = SubmanifoldConv(out_channels, out_channels, engine=config.engine)
        self.norm = BatchNorm(out_channels, momentum=0.1)
        self.shortcut = nn.Sequential()
        if in_channels != out_channels:
            self.shortcut.append(nn.Linear(in_channels, out_channels, bias=False))
            self.shortcut.append(BatchNorm(out_channels, momentum=config.momentum))

    def forward(self, voxels: Voxels) -> Voxels:
        out = self.second(self.first(voxels))
        features = self.norm(out.features) + self.shortcut(voxels.features)
        return voxels.with_features(torch.relu(features))


class MinkUNet(nn.Module):
    """Sparse residual U-Net (Choy et al. 2019), which CLIP2Scene uses for ScanNet.

    Takes voxels with `in_channels` features and returns [V, out_channels] for the same voxels in the same order.
    """

    def __init__(self, in_channels: int, config: NetworkConfig) -> None:
        super().__init__()
        engine, momentum, stages = config.engine, config.momentum, iter(config.stages)
        self.stem = Sequence(SubmanifoldConv(in_channels, config.stem, engine=engine), momentum)
        self.stem_rest = nn.Sequential()
        for _ in range(config.stem_convs - 1):
            conv = SubmanifoldConv(config.stem, config.stem, engine=engine)
            self.stem_rest.append(Sequence(conv, momentum))
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        skips = [config.stem]
        for width in config.encoder:
            self.down.append(Sequence(StridedConv(skips[-1], skips[-1], engine=engine), momentum))
            self.encoder.append(_blocks(skips[-1], width, next(stages), config))
            skips.append(width)
        channels = skips.pop()
        for width in config.decoder:
            self.up.append(Sequence(InverseConv(channels, width, engine=engine), momentum))
            self.decoder.append(_blocks(width + skips.pop(), width, next(stages), config))
            channels = width
        self.out_channels = channels

    def forward(self, voxels: Voxels) -> Tensor:
        *skips, voxels = self.encode(voxels)
        return self.decode(voxels, skips, range(len(skips))).features

    def encode(self, voxels: Voxels) -> list[Voxels]:
        """The voxels after the stem and after each level going down, finest first."""
        levels: list[Voxels] = [self.stem_rest(self.stem(voxels))]
        for down, blocks in zip(self.down, self.encoder, strict=True):
            levels.append(blocks(down(levels[-1])))
        return levels

    def decode(self, voxels: Voxels, skips: list[Voxels], levels: range) -> Voxels:
        """Run the given levels of the decoder (0 is the coarsest); skips: finest first, one per level."""
        for level in levels:
            voxels = self.up[level](voxels)
            features = torch.cat((voxels.features, skips[-1 - level].features), 1)
            voxels = self.decoder[level](voxels.with_features(features))
        return voxels


def _blocks(in_channels: int, out_channels: int, count: int, config: NetworkConfig) -> nn.Sequential:
    widths = [in_channels, *[out_channels] * count]
    return nn.Sequential(*(BasicBlock(a, b, config) for a, b in itertools.pairwise(widths)))
