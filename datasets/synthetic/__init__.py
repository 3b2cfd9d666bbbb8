"""The synthetic driving world: streets of simple solids, seen by LiDAR and cameras, written as nuScenes.

`python -m datasets.synthetic` writes one; nothing here is read by anything but the nuScenes adapter.
"""
