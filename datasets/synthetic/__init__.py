"""The synthetic driving world: streets of simple solids, seen by LiDAR and cameras, in real data sets' files.

`python -m datasets.synthetic` writes one, as nuScenes, SemanticKITTI or ScanNet; nothing here is read by
anything but the adapters of these.
"""
