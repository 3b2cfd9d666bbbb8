"""Settings of reading frames."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """How a keyframe becomes a `Frame`."""

    lidar_sweeps: int = 0
    """Earlier sweeps to add to the keyframe's points."""
    image_size: tuple[int, int] = (224, 416)
    """(height, width) the images are stored at, pixels."""
    superpixels: int = 0
    """SLIC segments of each stored image, about so many; 0 makes none. The shard job adds them to what an
    adapter reads."""
