"""Sentences about ScanNet's rooms: ScanRefer, Nr3D and Sr3D, with proposals of a detector or true instances."""
