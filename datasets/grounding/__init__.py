"""Sentences about ScanNet's rooms: ScanRefer, Nr3D and Sr3D, with a detector's proposals or true instances."""

from datasets.grounding.source import Grounding, RoomKey, RoomOptions

__all__ = ["Grounding", "RoomKey", "RoomOptions"]
