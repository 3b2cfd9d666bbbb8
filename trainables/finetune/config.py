"""Settings of fine-tuning, and the presets of `trainables.finetune`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from scenelift.config.constraints import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFraction,
    Settings,
)
from scenelift.errors import ConfigError
from scenelift.nn.config import NETWORKS, StudentConfig
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import StudentFolder, TrainingConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from trainables.common.config import SegmentationData
from trainables.common.own import OWN, fitted
from trainables.common.presets import Suited, frame_options, require_suited

if TYPE_CHECKING:
    from scenelift.shards.read import Shards


@dataclass(frozen=True)
class LabelsConfig(Settings):
    """Which part of the training frames' labels may be used (clip2scene.md 1.1)."""

    fraction: PositiveFraction = 1.0
    """Fraction of the labels, one over a whole number s: 0.01 (s = 100), 0.05, 0.1, 0.25, 1."""
    level: Literal["frame", "scene"] = "frame"
    """`frame`: every s-th frame, as CLIP2Scene has it; `scene`: all frames of every s-th scene, as SLidR has
    it. Figures for the two cannot be compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(self.fraction * self.stride - 1) > 0.02:
            raise ConfigError(
                "labels.fraction must be one over a whole number, such as 0.01, 0.05, 0.1, 0.25, 0.5 or 1, "
                f"not {self.fraction:g}"
            )

    @property
    def stride(self) -> int:
        """s: every n-th frame, or scene, is used."""
        return round(1 / self.fraction)

    def frames(self, shards: Shards) -> Sequence[int]:
        """The frames whose labels are used, in their order: the first and every s-th after it, or those of the s-th
        scene, the 2 s-th and so on (of fewer than s scenes the first), as the authors count."""
        if self.level == "frame" or self.stride == 1:
            return range(0, len(shards), self.stride)
        scenes = list(dict.fromkeys(shards.scenes))
        chosen = set(scenes[self.stride - 1 :: self.stride] or scenes[:1])
        return [index for index, scene in enumerate(shards.scenes) if scene in chosen]


@dataclass(frozen=True)
class FinetuneLoss(Settings):
    """Weights of the two losses; 0 leaves one out."""

    cross_entropy: NonNegativeFloat = 1.0
    """Weight of the mean cross-entropy over the labeled voxels."""
    lovasz: NonNegativeFloat = 1.0
    """Weight of Lovasz-softmax."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cross_entropy and not self.lovasz:
            raise ConfigError("nothing to learn: write --loss.cross_entropy 1 or --loss.lovasz 1")


@dataclass(frozen=True)
class FinetuneConfig(TrainingConfig):
    """Supervised training of a student, from a pre-trained backbone or from random, on a part of the labels."""

    start: StudentFolder | None = None
    """Folder of a pre-trained student, runs/NAME/student or a checkpoint, whose backbone is loaded; none:
    random weights."""
    head: Literal["new", "text"] = "new"
    """`new`: the classifier starts at random, as in the paper; `text`: it starts as the text classifier of a
    distilled start, whose class list must be that of the labels."""
    freeze: bool = False
    """Linear probing: train the classifier alone; the backbone keeps its weights and its statistics."""
    labels: LabelsConfig = LabelsConfig()
    """Which labels are used."""
    data: SegmentationData = SegmentationData()
    student: StudentConfig = StudentConfig()
    """The 3D network; that of the start."""
    augmentation: Augmentation = Augmentation()
    """Changes of the training clouds."""
    loss: FinetuneLoss = FinetuneLoss()
    """The losses."""
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.02, head_lr=2.0, dampening=0.1)
    loop: LoopConfig = LoopConfig(epochs=24, batch=8)
    free_norms: Fraction = 1.0
    """Fraction of the epochs in which batch norms use the statistics of each batch; later they keep the running
    ones, as in evaluation. Needed if a worker's batch is only a frame or two."""
    min_steps: NonNegativeInt = 0
    """Optimizer steps at least: loop.epochs is raised where few frames make short epochs."""
    tracking: TrackingConfig = TrackingConfig(experiment="finetune")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.augmentation.lidar_sweeps:
            raise ConfigError("only keyframes have labels: write --augmentation.lidar_sweeps 0")
        if self.augmentation.image != ImageAugmentation():
            raise ConfigError("fine-tuning reads no images: leave augmentation.image.* as they are")

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """The preset `own` with what its shards say."""
        going = super().continued(values, chosen)
        return fitted(going, values, chosen, ("student", "loop", "scale")) if going is self else going

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        more = partial(frame_options, labels=True)
        require_suited("frame", (self.data.train, self.data.test), SUITED, preset, program, options, more)

    @property
    def protocol(self) -> str:
        """Scores may be compared with those of runs of the same protocol."""
        protocol = f"{'linear probing' if self.freeze else 'finetune'} {100 * self.labels.fraction:.4g}%"
        return f"{protocol} {self.labels.level}s" if self.labels.stride > 1 else protocol


_PAPER = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.1), NETWORKS["spvcnn"]),
    optimizer=OptimizerConfig(lr=0.02, dampening=0.1),
    loop=LoopConfig(epochs=24, batch=8),
    scale=ScaleConfig(workers=2),
)

_SCANNET = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.05), NETWORKS["minkunet14a"]),
    augmentation=Augmentation(shear=0.1, shears=2),
    optimizer=OptimizerConfig(lr=0.1, dampening=0.1),
    loop=LoopConfig(epochs=300, batch=8),
    scale=ScaleConfig(workers=2),
)

_OURS = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.1, feature_scale=1 / 255), NETWORKS["spvcnn"]), min_steps=2000
)

_SYNTHETIC = FinetuneConfig(
    student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), NETWORKS["tiny"]),
    augmentation=Augmentation(scale_jitter=0.05),
    optimizer=OptimizerConfig(
        "adamw", lr=1e-2, head_lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1
    ),
    loop=LoopConfig(epochs=10, batch=2, checkpoint_every=200),
    free_norms=0.5,
    min_steps=300,
    scale=ScaleConfig(workers=2),
)

PRESETS = {
    "synthetic": _SYNTHETIC,
    "synthetic_text": replace(
        _SYNTHETIC, head="text", free_norms=0.0, optimizer=replace(_SYNTHETIC.optimizer, lr=1e-3)
    ),
    "nuscenes": _OURS,
    "semantickitti": replace(_OURS, student=StudentConfig(VoxelConfig(0.1), NETWORKS["spvcnn"])),
    "scannet": replace(
        _SCANNET,
        augmentation=Augmentation(shear=0.1),
        optimizer=OptimizerConfig(lr=0.1, head_lr=1.0, dampening=0.1),
    ),
    "paper_nuscenes": _PAPER,
    "paper_semantickitti": replace(
        _PAPER,
        student=StudentConfig(VoxelConfig(0.1, feature_offset=1.0), NETWORKS["spvcnn"]),
        loop=LoopConfig(epochs=100, batch=16),
        scale=ScaleConfig(workers=1),
    ),
    "paper_scannet": _SCANNET,
    "paper_slidr": FinetuneConfig(
        labels=LabelsConfig(level="scene"),
        student=StudentConfig(
            VoxelConfig(0.1, grid="cylindrical"), replace(NETWORKS["minkunet34c"], momentum=0.02)
        ),
        loop=LoopConfig(epochs=100, batch=16),
    ),
    OWN: _OURS,
}
"""`synthetic`: minutes on two cores; `synthetic_text`: for a few labels and a distilled start, of which it keeps
more. `paper_nuscenes`, `paper_semantickitti` and `paper_scannet` are CLIP2Scene's code (clip2scene.md 6.4): one
learning rate for trunk and head, since the group meant for the head was empty. Not known are SemanticKITTI's
epochs, which are SLidR's here, and those of 1 % of nuScenes; the code's 24 are for all labels. `paper_slidr` is
SLidR's own fine-tuning, on whole scenes, with its 100 epochs for 1 %. What else differs is listed in
docs/methods/clip2scene.md. The others have the intended rate of the head, features of one range in all data sets,
and as many steps on 1 % of nuScenes as SLidR's 100 epochs."""

SUITED: Suited = {
    "nuscenes": ("nuscenes", "paper_nuscenes", "paper_slidr"),
    "semantickitti": ("semantickitti", "paper_semantickitti"),
    "scannet": ("scannet", "paper_scannet"),
}
