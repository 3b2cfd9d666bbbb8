"""nuScenes: six cameras and a LiDAR on a car, with lidarseg labels; also any data in its layout."""

from datasets.nuscenes.keyframes import Keyframe
from datasets.nuscenes.source import NuScenes

__all__ = ["Keyframe", "NuScenes"]
