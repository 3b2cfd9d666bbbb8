"""Settings and presets of PPKT and SLidR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from scenelift.config.constraints import NonNegativeInt, PositiveFloat, PositiveInt, Settings
from scenelift.errors import ConfigError
from scenelift.evaluation.config import NO_VALIDATION, ValidationConfig
from scenelift.nn.config import NETWORKS, StudentConfig
from scenelift.points.config import Augmentation, ImageAugmentation, VoxelConfig
from scenelift.runs.config import TrainingConfig
from scenelift.teachers.config import TeacherConfig
from scenelift.tracking.config import TrackingConfig
from scenelift.train.config import LoopConfig, OptimizerConfig, ScaleConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER, SegmentationData, require_same_images
from trainables.common.own import OWN, fitted
from trainables.common.presets import Suited, frame_options, require_suited


@dataclass(frozen=True)
class ImageBackboneConfig(Settings):
    """The 2D network of pre-training, which stays as it is."""

    model: str = "teacher"
    """"teacher": the image tower of the CLIP that `teacher` describes; or the name of a timm model, such as
    resnet50."""
    weights: str | None = None
    """Of a timm model: a file (.safetensors, or a torch file of tensors only), or "random" (for tests; the same
    on every machine)."""
    output_stride: PositiveInt | None = None
    """Of a timm model: pixels from one of its last features to the next, kept low by dilated convolutions
    (ResNets: 4, as SLidR has it, 8, 16 or 32); none: as it was made."""
    align_corners: bool = False
    """Where features lie between pixels: with the outermost at the image's corners, as the papers' code has it
    (true), or each in the middle of what it covers (false)."""
    cache_frames: NonNegativeInt = 0
    """Frames whose features each worker keeps in memory, so that the network sees a frame once and not every
    epoch; for images that are not cropped or mirrored."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model == "teacher":
            if self.weights is not None or self.output_stride is not None:
                raise ConfigError(
                    "images.weights and images.output_stride are for timm models; a CLIP's are set by teacher"
                )
        elif self.weights is None:
            raise ConfigError(f"--images.weights is missing: a file for {self.model}, or random")


@dataclass(frozen=True)
class ContrastConfig(Settings):
    """The contrast of points and pixels."""

    channels: PositiveInt = 64
    """Width of the space in which both are compared."""
    temperature: PositiveFloat = 0.07
    """Similarities are divided by this."""
    pairs: PositiveInt = 4096
    """Pairs of a batch (of each worker) that PPKT contrasts; SLidR takes all."""


@dataclass(frozen=True)
class PretrainConfig(TrainingConfig):
    """PPKT or SLidR: pre-train a sparse 3D student on the features of a frozen 2D network, without labels."""

    method: Literal["ppkt", "slidr"] = "ppkt"
    """`ppkt`: each point against its pixel; `slidr`: the points of a superpixel against its pixels, which
    needs shards with superpixels."""
    data: SegmentationData = SegmentationData()
    """What is trained on; nothing is scored, as the student does not name classes yet."""
    images: ImageBackboneConfig = ImageBackboneConfig()
    """The 2D network."""
    teacher: TeacherConfig = CLIP_TEACHER
    """The CLIP whose image tower is the 2D network if images.model is teacher."""
    student: StudentConfig = StudentConfig()
    """The 3D network."""
    augmentation: Augmentation = Augmentation(image=ImageAugmentation(crop=True, flip=True))
    """Changes of the training frames."""
    contrast: ContrastConfig = ContrastConfig()
    """The loss."""
    optimizer: OptimizerConfig = OptimizerConfig(dampening=0.1)
    validation: ValidationConfig = NO_VALIDATION
    """Stays off: a student that does not name classes cannot be scored."""
    tracking: TrackingConfig = TrackingConfig(experiment="pretrain")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data.test is not None or self.validation.holdout_every:
            raise ConfigError(
                "data.test and validation.holdout_every are for trainings that name classes; score what "
                "trainables.finetune makes"
            )
        if self.images.cache_frames:
            require_same_images(self.augmentation, "images.cache_frames")

    def continued(self, values: Mapping[str, Any], chosen: str | None) -> Self:
        """The preset `own` with what its shards say."""
        going = super().continued(values, chosen)
        return fitted(going, values, chosen) if going is self else going

    def check_preset(self, preset: str | None, program: str, options: Sequence[str]) -> None:
        require_suited("frame", (self.data.train,), SUITED, preset, program, options, frame_options)


_MOCO = ImageBackboneConfig(
    model="resnet50", weights="data/weights/moco_v2_800ep_pretrain.pth.tar", align_corners=True
)

_NUSCENES = PretrainConfig(student=StudentConfig(VoxelConfig(0.1, feature_scale=1 / 255), NETWORKS["spvcnn"]))

_PAPER = replace(
    _NUSCENES,
    images=_MOCO,
    student=StudentConfig(VoxelConfig(0.1, grid="cylindrical"), NETWORKS["minkunet34c"]),
    augmentation=Augmentation(
        drop_cuboid=0.2, image=ImageAugmentation(crop=True, flip=True, size=(224, 416))
    ),
    optimizer=OptimizerConfig(lr=0.5, dampening=0.1),
    loop=LoopConfig(epochs=50, batch=4),
)

PRESETS = {
    "synthetic": PretrainConfig(
        images=ImageBackboneConfig(cache_frames=1000),
        teacher=TINY_TEACHER,
        student=StudentConfig(VoxelConfig(0.4, "geometry", 1 / 255), NETWORKS["tiny"]),
        augmentation=Augmentation(scale_jitter=0.05),
        contrast=ContrastConfig(pairs=1024),
        optimizer=OptimizerConfig("adamw", lr=1e-2, weight_decay=0.01, schedule="one_cycle", warmup=0.1),
        loop=LoopConfig(epochs=20, batch=4, checkpoint_every=200),
        scale=ScaleConfig(workers=2),
    ),
    "ppkt": _NUSCENES,
    "slidr": replace(_NUSCENES, method="slidr"),
    "paper_ppkt": _PAPER,
    "paper_slidr": replace(_PAPER, method="slidr", images=replace(_MOCO, output_stride=4)),
    OWN: _NUSCENES,
}
"""`synthetic`: minutes on two cores; `ppkt` and `slidr`: from CLIP ViT-B/16, trained as CLIP2Scene is (section
5); `paper_ppkt` and `paper_slidr`: from a ResNet-50 of MoCo v2, with the input, the network and the losses of
SLidR's code for both (section 4.5), apart from what docs/methods/clip2scene.md lists."""

SUITED: Suited = {"nuscenes": ("ppkt", "slidr", "paper_ppkt", "paper_slidr")}
