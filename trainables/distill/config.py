"""Settings and presets of CLIP2Scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from scenelift.config.constraints import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Settings,
)
from scenelift.errors import ConfigError
from scenelift.nn.config import NETWORKS, StudentConfig
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import TrainingConfig
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from trainables.common.config import (
    CLIP_TEACHER,
    PAPER_TEACHER,
    TINY_TEACHER,
    SegmentationData,
    require_same_images,
)
from trainables.common.own import OWN, fitted
from trainables.common.presets import Suited, frame_options, require_suited

Prompts = Literal["words", "paper", "semantickitti", "cityscapes", "all"]


@dataclass(frozen=True)
class DistillLoss(Settings):
    """Weights and forms of the losses; a weight of 0 leaves a loss out."""

    semantic: NonNegativeFloat = 1.0
    """Weight of semantic consistency."""
    semantic_form: Literal["classes", "points", "divergence"] = "classes"
    """`classes`: cross-entropy over the classes of each point, as the paper's code has it; `points`: the
    paper's Eq. 1, which contrasts the points of each class; `divergence`: Kullback-Leibler divergence from
    the teacher's soft scores (an ablation of the paper)."""
    temperature: PositiveFloat = 1.0
    """Logits are divided by this; the paper's code has none (1), its Eq. 1 says 0.5."""
    class_weight_power: NonNegativeFloat = 0.0
    """A class weighs (its share of the batch's pseudo-labels) ** -class_weight_power; the paper has 0, equal
    weights. At 0.5 a short training does not forget rare classes."""
    confident_fraction: PositiveFraction = 1.0
    """Fraction of a batch's pairs that are used: those with the largest margin. The paper uses all (1); where a
    patch shows two things the teacher is unsure and mostly wrong."""

    spatial_temporal: NonNegativeFloat = 0.0
    """Weight of spatial-temporal consistency."""
    spatial_temporal_form: Literal["code", "joint", "cosine"] = "code"
    """`code`: point features only, one label a cell; `joint`: the paper's Eq. 2-4, point and pixel features;
    `cosine`: each point against its pixel, no cells (what the paper's code does on ScanNet)."""
    grid: PositiveFloat = 0.1
    """Edge of the cells in which pairs are fused, metres."""
    cap: PositiveInt | None = None
    """Pairs of a cell that take part; the paper's code takes 8. For `code`."""
    sharpness: PositiveFloat = 1.0
    """Attention scores are divided by this: lambda of Eq. 3. For `joint`."""
    image_features: Literal["clip", "frozen", "trained"] = "clip"
    """Pixel features for `joint` and `cosine`: CLIP's own projection; a random projection of its tokens, kept
    as it is (the paper's code); or one that is trained (the paper)."""

    cache_frames: NonNegativeInt = 0
    """Frames whose teacher features each worker keeps in memory, so that the teacher sees a frame once and not
    every epoch; for images that are not cropped or mirrored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.semantic and not self.spatial_temporal:
            raise ConfigError("nothing to learn: write --loss.semantic 1 or --loss.spatial_temporal 1")

    @property
    def cells(self) -> bool:
        """Whether the pairs' grid cells are needed."""
        return bool(self.spatial_temporal) and self.spatial_temporal_form != "cosine"

    @property
    def pixels(self) -> bool:
        """Whether the pixels' features are needed, in addition to their labels."""
        return bool(self.spatial_temporal) and self.spatial_temporal_form != "code"

    @property
    def projected(self) -> bool:
        """Whether the student carries a projection of the teacher's tokens."""
        return self.pixels and self.image_features != "clip"


@dataclass(frozen=True)
class SelfTrainingConfig(Settings):
    """Switchable self-training: from some epoch on, pseudo-labels replace the teacher's at random."""

    start: NonNegativeInt | None = None
    """Epochs done before it starts; none: never. The paper says 10 of 20, its code starts at 11."""
    probability: Fraction = 0.5
    """That a step, or a pair, switches."""
    scope: Literal["batch", "point"] = "batch"
    """What switches at once: all pairs of a step, as the paper's code has it, or each by itself."""
    threshold: Fraction = 0.0
    """Confidence threshold of pseudo-labels; the paper has none (0)."""
    unpaired: NonNegativeFloat = 0.0
    """Weight of the same loss on points that no camera sees, in switched steps; the paper's code computes it
    without using it (0)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is None and self.unpaired:
            raise ConfigError(
                "self_training.unpaired needs self_training.start; give one, or --self_training.unpaired 0"
            )


NO_SELF_TRAINING = SelfTrainingConfig()


@dataclass(frozen=True)
class DistillConfig(TrainingConfig):
    """CLIP2Scene: distil a dense CLIP teacher into a sparse 3D student, without labels."""

    data: SegmentationData = SegmentationData()
    teacher: TeacherConfig = CLIP_TEACHER
    """The 2D vision-language model."""
    prompts: Prompts = "words"
    """What the teacher chooses between: the data set's classes, by all their words or by the `paper`'s one each;
    or the classes of other data sets (ablations of the paper)."""
    student: StudentConfig = StudentConfig()
    """The 3D network."""
    augmentation: Augmentation = Augmentation()
    """Changes of the training frames."""
    loss: DistillLoss = DistillLoss()
    """The losses."""
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    """Learning from its own labels."""
    optimizer: OptimizerConfig = OptimizerConfig(dampening=0.1)
    tracking: TrackingConfig = TrackingConfig(experiment="distill")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.cache_frames:
            require_same_images(self.augmentation, "loss.cache_frames")
        start, epochs = self.self_training.start, self.loop.epochs
        if start is not None and start >= epochs:
            raise ConfigError(
                f"self_training.start {start} is never reached in loop.epochs {epochs}; write "
                f"--self_training.start none, or an epoch before {epochs}"
            )

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """The preset `own` with what its shards say."""
        going = super().continued(values, chosen)
        return fitted(going, values, chosen) if going is self else going

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        folders = (self.data.train, self.data.test)
        require_suited("frame", folders, SUITED, preset, program, options, frame_options)


_CROPS = ImageAugmentation(crop=True, flip=True, size=(224, 416))
_NUSCENES_PAPER = DistillConfig(
    teacher=PAPER_TEACHER,
    prompts="paper",
    student=StudentConfig(VoxelConfig(0.1), NETWORKS["spvcnn"]),
    augmentation=Augmentation(lidar_sweeps=2, image=replace(_CROPS, per_cloud=True)),
    loss=DistillLoss(spatial_temporal=1.0, cap=8),
    self_training=SelfTrainingConfig(start=11),
    loop=LoopConfig(epochs=20, batch=4),
    scale=ScaleConfig(workers=2),
)
_NUSCENES = replace(
    _NUSCENES_PAPER,
    teacher=CLIP_TEACHER,
    prompts="words",
    student=StudentConfig(VoxelConfig(0.1, feature_scale=1 / 255), NETWORKS["spvcnn"]),
    augmentation=Augmentation(lidar_sweeps=2, image=_CROPS),
    loss=replace(_NUSCENES_PAPER.loss, cap=None),
    self_training=SelfTrainingConfig(start=10, threshold=0.5),
)
_SCANNET_PAPER = DistillConfig(
    teacher=PAPER_TEACHER,
    prompts="paper",
    student=StudentConfig(VoxelConfig(0.05), NETWORKS["minkunet14a"]),
    augmentation=Augmentation(image=replace(_CROPS, views=8)),
    loss=DistillLoss(spatial_temporal=1.0, spatial_temporal_form="cosine", image_features="frozen"),
    self_training=SelfTrainingConfig(start=10),
    loop=LoopConfig(epochs=30, batch=8),
    scale=ScaleConfig(workers=2),
)

_SYNTHETIC = DistillConfig(
    teacher=TINY_TEACHER,
    student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), NETWORKS["tiny"]),
    augmentation=Augmentation(scale_jitter=0.05),
    loss=DistillLoss(temperature=0.2, class_weight_power=0.5, confident_fraction=0.7, cache_frames=1000),
    optimizer=OptimizerConfig("adamw", lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1),
    loop=LoopConfig(epochs=20, batch=4, checkpoint_every=200),
    scale=ScaleConfig(workers=2),
)

_WHOLE = replace(
    _SYNTHETIC,
    augmentation=replace(_SYNTHETIC.augmentation, lidar_sweeps=1),
    loss=replace(_SYNTHETIC.loss, spatial_temporal=1.0, grid=0.8),
    self_training=SelfTrainingConfig(start=14, threshold=0.6, scope="point"),
)

_HALF = replace(
    _WHOLE, loop=replace(_WHOLE.loop, epochs=10), self_training=replace(_WHOLE.self_training, start=7)
)

PRESETS = {
    "synthetic": _SYNTHETIC,
    "synthetic_whole": _WHOLE,
    "synthetic_half": _HALF,
    "synthetic_half_taught": replace(_HALF, self_training=NO_SELF_TRAINING),
    "nuscenes": _NUSCENES,
    "paper_nuscenes": _NUSCENES_PAPER,
    "semantickitti": replace(
        _NUSCENES,
        teacher=replace(CLIP_TEACHER, image_size=(160, 528)),
        student=StudentConfig(VoxelConfig(0.1), NETWORKS["spvcnn"]),
        augmentation=Augmentation(
            lidar_sweeps=2, image=ImageAugmentation(crop=True, flip=True, aspect=(2.8, 3.8))
        ),
    ),
    "scannet": replace(
        _SCANNET_PAPER,
        teacher=CLIP_TEACHER,
        prompts="words",
        loss=replace(_SCANNET_PAPER.loss, image_features="clip"),
        self_training=SelfTrainingConfig(start=10, threshold=0.5),
    ),
    "paper_scannet": _SCANNET_PAPER,
    OWN: _NUSCENES,
}
"""`synthetic`: semantic consistency alone, minutes on two cores; `synthetic_whole`: with a sweep, spatial-temporal
consistency and late self-training, twice as long; `synthetic_half`: the same in half the time, for sweeps;
`synthetic_half_taught`: without self-training, where its search begins. `paper_...`: as the paper's code ran,
mistakes included that change its figures (clip2scene.md 9), apart from what docs/methods/clip2scene.md lists; the
paper has no distillation on SemanticKITTI. The others are ours: images normalized, CLIP's activation, all words,
crops shared between sweeps, no cap, a confidence threshold for pseudo-labels. `own` is for data of your own: what
depends on them is taken from the shards."""

SUITED: Suited = {
    "nuscenes": ("nuscenes", "paper_nuscenes"),
    "semantickitti": ("semantickitti",),
    "scannet": ("scannet", "paper_scannet"),
}
