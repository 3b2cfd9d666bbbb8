"""ScanNet: indoor scenes as colored surfaces, and the photos they were made of; and all data in its layout."""

from datasets.scannet.source import RoomScan, ScanNet

__all__ = ["RoomScan", "ScanNet"]
