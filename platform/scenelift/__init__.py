"""Scenelift: lifts what 2D vision-language models know into 3D networks, without 3D labels."""

import os

# libgomp busy-waits at barriers: with any other process on the cores a step becomes ten times slower.
# It reads these when it is loaded, so they must stand here, before anything imports torch.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"
