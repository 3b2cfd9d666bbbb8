"""CLIP2Scene: a frozen CLIP names pixels, calibration says which points they show, a 3D network learns from it."""
