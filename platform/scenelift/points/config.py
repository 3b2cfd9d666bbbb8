"""Settings of voxels and of the random changes of training frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

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


@dataclass(frozen=True)
class VoxelConfig(Settings):
    """How a point cloud becomes voxels."""

    size: PositiveFloat = 0.1
    """Edge of a voxel, metres; of a cylindrical grid: along the radius and z."""
    features: Literal["first", "geometry"] = "first"
    """`first`: the features of a voxel's first point, as the paper's code has it; `geometry`: their mean, and
    the mean height, the mean height above the voxel's floor, and the log of the number of points."""
    feature_scale: PositiveFloat = 1.0
    """The points' own features are multiplied by this (1/255 brings nuScenes intensities to 0..1)."""
    feature_offset: NonNegativeFloat = 0.0
    """Then this is added: with 1, as CLIP2Scene's code has it on SemanticKITTI, a voxel of remission 0 differs
    from an empty one, which a convolution without bias cannot tell apart otherwise."""
    grid: Literal["cartesian", "cylindrical"] = "cartesian"
    """`cylindrical`: cells of radius, angle (1 degree) and z around the sensor, as PPKT and SLidR have them."""

    def channels(self, point_features: int) -> int:
        """Width of a voxel's features, given that of a point's."""
        return point_features + (3 if self.features == "geometry" else 0)


@dataclass(frozen=True)
class ImageAugmentation(Settings):
    """Changes of the training photos, of which pairs keep track (clip2scene.md 1.4)."""

    crop: bool = False
    """Cut out a random window and resize it to `size`."""
    area: tuple[PositiveFraction, PositiveFraction] = (0.3, 1.0)
    """Least and largest share of the photo that a window covers."""
    aspect: tuple[PositiveFloat, PositiveFloat] = (14 / 9, 17 / 9)
    """Least and largest width / height of a window, pixels of the stored image."""
    flip: bool = False
    """Mirror left and right with probability one half."""
    size: tuple[PositiveInt, PositiveInt] | None = None
    """(height, width) in which images enter a batch; none: as stored."""
    per_cloud: bool = False
    """Each cloud of a frame gets windows of its own, as the paper's code has it, instead of sharing one set;
    with K clouds the teacher then sees K times as many images."""
    views: NonNegativeInt = 0
    """Photos of a frame drawn for an epoch, without replacement (ScanNet: 8); 0: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("area", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"augmentation.image.{name} must be least and largest, not {low} {high}")


@dataclass(frozen=True)
class Augmentation(Settings):
    """Changes of a training frame, drawn anew for each epoch (clip2scene.md 1.4)."""

    rotate: bool = True
    """Rotate each cloud about z by an angle uniform in [0, 2 pi)."""
    flip: bool = True
    """Mirror x, and y, of each cloud with probability one half each."""
    scale_jitter: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Scale each cloud by a factor uniform in [1 - j, 1 + j]."""
    shear: NonNegativeFloat = 0.0
    """Multiply by a matrix that differs from the identity by normal deviates of this size (fine-tuning on
    ScanNet)."""
    shears: PositiveInt = 1
    """Times that this is done, with deviates of their own each time; CLIP2Scene's code does it twice."""
    drop_cuboid: Fraction = 0.0
    """Leave out the points of each cloud in a box around one of them, with edges up to this share of the cloud's
    (PPKT and SLidR: 0.2), unless a photo would keep fewer than 1,024 pairs; 0: none."""
    lidar_sweeps: NonNegativeInt = 0
    """Earlier sweeps drawn beside the keyframe, of those that the shards hold; each becomes its own cloud."""
    merge: bool = False
    """Make one cloud of the keyframe and the drawn sweeps instead (an ablation of the paper)."""
    image: ImageAugmentation = ImageAugmentation()
    """Changes of the photos."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shears > 1 and not self.shear:
            raise ConfigError("augmentation.shears needs an augmentation.shear of more than 0")
        if self.merge and not self.lidar_sweeps:
            raise ConfigError(
                "augmentation.merge wants --augmentation.lidar_sweeps 2, or write --augmentation.merge false"
            )


NO_AUGMENTATION = Augmentation(rotate=False, flip=False)
