"""Presets of `trainables.explore`."""

from __future__ import annotations

from dataclasses import replace

from scenelift.viewer.config import ExploreConfig
from trainables.common.config import CLIP_TEACHER, TINY_TEACHER

PRESETS = {
    "synthetic": ExploreConfig(teacher=TINY_TEACHER),
    "nuscenes": ExploreConfig(teacher=CLIP_TEACHER),
    "semantickitti": ExploreConfig(teacher=replace(CLIP_TEACHER, image_size=(160, 528))),
    "scannet": ExploreConfig(teacher=CLIP_TEACHER),
}
"""They differ in the teacher alone: all but `synthetic` have CLIP, at about the aspect of the data's photos."""
