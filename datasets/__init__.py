"""Data sets: a package each, with the location of its files, its classes and prompts, its calibration chain."""

import pathlib
import sys

_LIBRARY = str(pathlib.Path(__file__).resolve().parents[1] / "platform")
if _LIBRARY not in sys.path:
    sys.path.insert(1, _LIBRARY)

# First, because it sets variables that libgomp reads when torch is loaded.
import scenelift  # noqa: E402, F401
