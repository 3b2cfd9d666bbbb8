"""Synthetic rooms: furniture with colors and sizes, sentences about it, and a detector's noisy proposals.

`python -m datasets.synthetic_rooms` writes them in the files of ScanNet and ScanRefer; nothing here is read by
anything but the readers of these.
"""
