"""Sentences about ScanNet's rooms: ScanRefer, Nr3D and Sr3D, with a detector's proposals or true instances."""
