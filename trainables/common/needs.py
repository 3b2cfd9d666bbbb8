"""What a training takes from its shards of frames. It is checked against the manifest, before anything is scored or
trained, and what is missing is named with the command that gives it."""

from __future__ import annotations

from dataclasses import dataclass

from scenelift.errors import DataError
from scenelift.io.console import say
from scenelift.points.config import Augmentation, ImageAugmentation
from scenelift.shards.read import Shards

ENLARGED = 0.9
"""The least windows that are cut out of photos may have this share of the pixels of what they are resized to."""
SUPERPIXELS = 150
"""Superpixels of an image of nuScenes, as SLidR has them."""


@dataclass(frozen=True)
class Needs:
    """Follows from a config alone."""

    lidar_sweeps: int = 0
    """Sweeps that are drawn beside each keyframe."""
    pairs: bool = False
    """Points that are seen in images."""
    superpixels: bool = False
    labels: bool = False
    image: ImageAugmentation = ImageAugmentation()
    """How windows are cut out of the photos."""

    @classmethod
    def of_images(cls, augmentation: Augmentation, superpixels: bool = False) -> Needs:
        """Those of a training on points and images."""
        return cls(augmentation.lidar_sweeps, True, superpixels, image=augmentation.image)

    def check(self, shards: Shards) -> None:
        """DataError for shards that lack something; a warning where photos are too small for the windows."""
        about, path, again = shards.about, shards.path, shards.manifest.again
        if self.pairs and not any(about.pairs.values()):
            why = "no point falls into an image" if about.cameras else "there are no images"
            raise DataError(
                f"{path} has nothing to learn from, as {why}; make shards of a tree with photos and their "
                "calibration, or train on labels: python -m trainables.finetune"
            )
        if self.labels and not about.labeled:
            raise DataError(f"{path} has no labels to learn from; trainables.distill needs none")
        if self.lidar_sweeps > about.lidar_sweeps:
            raise DataError(
                f"{path} holds {about.lidar_sweeps} sweeps beside each keyframe, augmentation.lidar_sweeps draws "
                f"{self.lidar_sweeps}; write --augmentation.lidar_sweeps {about.lidar_sweeps}, or make shards with "
                f"more: {again({'lidar_sweeps': self.lidar_sweeps})}"
            )
        if self.superpixels and not about.superpixels:
            raise DataError(
                f"{path} has no superpixels, which slidr needs; make shards with them: "
                f"{again({'superpixels': SUPERPIXELS})}"
            )
        if self.image.crop and self.image.size:
            self._check_size(shards, self.image.size)

    def _check_size(self, shards: Shards, size: tuple[int, int]) -> None:
        height, width = shards.about.image_size
        share, wanted = height * width / (size[0] * size[1]), f"{2 * size[0]} {2 * size[1]}"
        larger = f"make shards with larger ones: {shards.manifest.again({'image_size': wanted})}"
        stored = (
            f"{shards.path} holds photos of {height}x{width} pixels, and windows of them are enlarged to "
        )
        stored += f"{size[0]}x{size[1]} (augmentation.image.size)"
        if share < ENLARGED:
            raise DataError(f"{stored}; write --augmentation.image.size {height} {width}, or {larger}")
        if share * self.image.area[0] < ENLARGED:
            say(f"warning: {stored} where they are small; {larger}")


NO_NEEDS = Needs()
