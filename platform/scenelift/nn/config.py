"""Settings of the 3D student, and the networks that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scenelift.config.constraints import PositiveFraction, PositiveInt, Settings
from scenelift.config.outside import is_outside, known, require_there
from scenelift.errors import ConfigError
from scenelift.points.config import VoxelConfig
from scenelift.sparse.config import ENGINES, GROUP, Engine


@dataclass(frozen=True)
class NetworkConfig(Settings):
    """A sparse residual U-Net, with or without a point branch; the defaults are MinkUNet14A."""

    NAMED: ClassVar[dict[str, NetworkConfig]] = {}
    """`NETWORKS`, so that a command takes `--student.network spvcnn`."""
    stem: PositiveInt = 32
    """Channels of the first convolution."""
    encoder: tuple[PositiveInt, ...] = (32, 64, 128, 256)
    """Channels of each level going down; every level halves the resolution."""
    decoder: tuple[PositiveInt, ...] = (128, 128, 96, 96)
    """Channels of each level going up; as many levels as the encoder has."""
    blocks: tuple[PositiveInt, ...] = (1,)
    """Residual blocks of each level, those of the encoder before those of the decoder; one number: of all."""
    stem_convs: PositiveInt = 1
    """Convolutions before the first level."""
    point_branch: bool = False
    """Carry features of every voxel past the coarse levels (SPVCNN), and return those of three places."""
    momentum: PositiveFraction = 0.05
    """Of batch norms outside of residual blocks and in their shortcuts; inside of them it is 0.1."""
    engine: Engine = "auto"
    """Sparse convolution engine: auto (spconv where it is installed, else torch), spconv, torch, or a class of your
    own, FILE.py:CLASS (docs/your_own_teacher.md)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine not in ENGINES and not is_outside(self.engine, GROUP):
            names = ", ".join(known(GROUP, ENGINES))
            raise ConfigError(
                f"network.engine: {self.engine!r} is not one of {names}; write it, or FILE.py:CLASS"
            )
        levels = len(self.encoder)
        if len(self.decoder) != levels or not levels:
            raise ConfigError(f"give as many decoder as encoder levels, not {len(self.decoder)}, {levels}")
        if len(self.blocks) not in (1, 2 * levels):
            raise ConfigError(
                f"network.blocks takes one number, or {2 * levels} for {levels} levels down and up, "
                f"not {len(self.blocks)}"
            )
        if self.point_branch and levels < 2:
            raise ConfigError("network.point_branch needs a network of at least 2 levels")

    def check_here(self, prefix: str = "") -> None:
        if self.engine not in ENGINES:
            require_there(self.engine, GROUP, f"{prefix}engine")
        super().check_here(prefix)

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


@dataclass(frozen=True)
class StudentConfig(Settings):
    """The 3D network and what it sees."""

    voxels: VoxelConfig = VoxelConfig()
    """How a cloud is voxelised, in training and in evaluation."""
    network: NetworkConfig = NetworkConfig()
    """The sparse network: `--student.network spvcnn` (or minkunet14a, minkunet18a, minkunet34c, tiny) sets all."""
