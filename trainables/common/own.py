"""The preset `own`: what differs from one data set to another is taken from the shards, and explained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scenelift.config.build import flatten, override
from scenelift.errors import ConfigError, SceneliftError
from scenelift.io.console import say

if TYPE_CHECKING:
    from scenelift.samples.frame import Frame
    from scenelift.shards.read import Shards

T = TypeVar("T")
OWN = "own"
GROUPS = ("augmentation", "teacher", "student", "loop", "scale")
_READ = 4
"""Frames that are looked at, spread over the shards."""
_MOST = 20_000
"""Points of a frame whose nearest neighbours are searched."""
_SIZES = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Edges of voxels, metres."""
_SCALES = (1, 255, 65535)
"""Largest values that features are recorded with."""
_ZEROS = 0.02
"""Share of points without any feature from which these need an offset."""
_WINDOW = 224 * 416
"""Pixels of a window that CLIP reads, as in the presets of other data."""
_PATCH = 16
"""Pixels of a patch of CLIP ViT-B/16."""


@dataclass(frozen=True)
class Choice:
    """One setting, and why."""

    key: str
    value: Any
    why: str


def fitted(
    config: T,
    values: Mapping[str, Any],
    chosen: str | None,
    groups: Sequence[str] = GROUPS,
    data: str = "data.train",
) -> T:
    """The preset `own`, if it was chosen, with what its shards say, line by line; else the config as it is.

    values: the options that are given by key, which are left alone; groups: of settings, which are made for the
    shards; data: the key of their folder. ConfigError without shards.
    """
    if chosen != f"the preset {OWN}":
        return config
    folder = values.get(data)
    if folder is None:
        raise ConfigError(f"the preset own is made from your shards; give their folder: --{data} DIR")
    known = flatten(config)
    choices = [
        choice
        for choice in look(str(folder), known.get("loop.batch", 1))
        if choice.key.split(".")[0] in groups and choice.key in known and not _given(choice.key, values)
    ]
    for choice in choices:
        text = " ".join(map(str, choice.value)) if isinstance(choice.value, tuple) else choice.value
        say(f"own: --{choice.key} {text}: {choice.why}")
    return override(config, {choice.key: choice.value for choice in choices})


def _given(key: str, values: Mapping[str, Any]) -> bool:
    """Whether the key, or a group that it is in by name, is given."""
    parts = key.split(".")
    return any(".".join(parts[:end]) in values for end in range(1, 1 + len(parts)))


def look(folder: str, batch: int) -> list[Choice]:
    """What the frames in a folder decide; nothing if they cannot be read, which the training itself explains."""
    import numpy as np

    from scenelift.shards.read import Shards

    try:
        shards = Shards.open(folder)
        chosen = sorted({round(place) for place in np.linspace(0, len(shards) - 1, _READ)})
        frames = list(shards.read_many(chosen))
    except SceneliftError:
        return []
    return [*_student(frames), *_images(shards), *_steps(shards, batch)]


def _student(frames: Sequence[Frame]) -> list[Choice]:
    """The size of voxels, and the scale of the points' own features."""
    import numpy as np
    from scipy.spatial import KDTree

    near = []
    for frame in frames:
        points = frame.points[frame.keyframe]
        every = max(1, len(points) // _MOST)
        if len(points) > 1:
            near.append(np.median(KDTree(points).query(points[::every], k=2)[0][:, 1]))
    apart = float(np.median(near)) if near else 0.05
    size = min(_SIZES, key=lambda each: abs(math.log(each / max(2 * apart, 1e-6))))
    features = np.concatenate([frame.features for frame in frames])
    largest = float(np.abs(features).max(initial=0))
    full = next((scale for scale in _SCALES if largest <= 1.5 * scale), largest)
    nothing = float((features == 0).all(1).mean()) if len(features) else 0.0
    choices = [
        Choice(
            "student.voxels.size",
            size,
            f"metres; half of the points have their nearest neighbour within {apart:.3f} m, and a voxel is about "
            "twice that",
        ),
        Choice(
            "student.voxels.feature_scale",
            float(f"{1 / full:.6g}"),
            f"features of points reach {largest:.4g}, which brings them to 0..1",
        ),
    ]
    if nothing > _ZEROS:
        why = f"{nothing:.0%} of the points have no feature but 0, and would look like empty space"
        choices.append(Choice("student.voxels.feature_offset", 1.0, why))
    return choices


def _images(shards: Shards) -> list[Choice]:
    """Windows that are cut out of the photos, and what the teacher reads."""
    about = shards.about
    sweeps = min(2, about.lidar_sweeps)
    why = f"the shards hold {about.lidar_sweeps} sweeps beside each keyframe, and two are enough"
    choices = [Choice("augmentation.lidar_sweeps", sweeps, why)]
    if not about.cameras:
        return choices
    height, width = about.image_size
    shrunk = min(1.0, math.sqrt(_WINDOW / (height * width)))
    size = tuple(max(1, round(side * shrunk / _PATCH)) * _PATCH for side in (height, width))
    stored = f"photos are stored at {height} x {width}"
    aspect = tuple(float(f"{share * width / height:.3g}") for share in (0.9, 1.1))
    return [
        *choices,
        Choice("augmentation.image.size", size, f"{stored}; windows of them, in whole patches of {_PATCH}"),
        Choice("augmentation.image.aspect", aspect, f"{stored}; windows are about as wide for their height"),
        Choice("teacher.image_size", size, "the teacher reads windows at their size"),
    ]


def _steps(shards: Shards, batch: int) -> list[Choice]:
    """A batch that the frames fill, by one worker, which any number of them suits."""
    frames = len(shards)
    if frames >= batch:
        return []
    why = f"there are {frames} frames, fewer than a batch of {batch}"
    return [Choice("loop.batch", frames, why), Choice("scale.workers", 1, why)]
