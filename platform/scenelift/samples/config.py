"""Settings of reading frames."""

from __future__ import annotations

from dataclasses import dataclass

from scenelift.config.constraints import NonNegativeInt, PositiveInt, Settings


@dataclass(frozen=True)
class ReadOptions(Settings):
    """How a keyframe becomes a `Frame`."""

    lidar_sweeps: NonNegativeInt = 0
    """Earlier sweeps to add to the keyframe's points."""
    image_size: tuple[PositiveInt, PositiveInt] = (224, 416)
    """(height, width) the images are stored at, pixels."""
    superpixels: NonNegativeInt = 0
    """SLIC segments of each stored image, about so many; 0 makes none. The shard job adds them to what an
    adapter reads."""
