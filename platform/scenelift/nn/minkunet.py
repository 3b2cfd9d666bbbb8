"""Sparse 3D backbones: residual U-Nets of any size. `scenelift.nn.spvcnn.build_network` makes all networks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from scenelift.nn.config import NetworkConfig
from scenelift.sparse.layers import BatchNorm, InverseConv, StridedConv, SubmanifoldConv
from scenelift.sparse.sites import Voxels


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
    """Sparse residual U-Net (Choy et al. 2019), which CLIP2Scene uses for ScanNet. Takes voxels with
    `in_channels` features and returns [V, out_channels] for the same voxels in the same order."""

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
