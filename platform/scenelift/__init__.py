"""Scenelift: lifts what 2D vision-language models know into 3D networks, without 3D labels.

student = scenelift.load("runs/NAME/student")
labels = student.predict(points)
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenelift.errors import SceneliftError
    from scenelift.inference.labeler import Labeler, Labels, load

# libgomp busy-waits at barriers: with any other process on the cores a step becomes ten times slower.
# It reads these when it is loaded, so they must stand here, before anything imports torch.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"
__all__ = ["Labeler", "Labels", "SceneliftError", "__version__", "load"]
_HOMES = {
    "load": "scenelift.inference.labeler",
    "Labeler": "scenelift.inference.labeler",
    "Labels": "scenelift.inference.labeler",
    "SceneliftError": "scenelift.errors",
}
"""Public name -> the module that has it, imported at first use: torch takes seconds."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scenelift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
