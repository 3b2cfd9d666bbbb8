"""Synthetic rooms: furniture with colors and sizes, sentences about it, and a detector's noisy proposals.

`python -m datasets.synthetic_rooms` writes them in the layouts of ScanNet and ScanRefer; they are read only through
the readers of these.
"""
