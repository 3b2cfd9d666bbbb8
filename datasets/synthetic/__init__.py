"""The synthetic driving world: streets of simple solids, seen by LiDAR and cameras, in real data sets' files.

`python -m datasets.synthetic` writes one, as nuScenes, SemanticKITTI or ScanNet; the result is read only through
the adapters of these data sets.
"""
