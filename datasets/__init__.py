"""Data sets: a package each, with the location of its files, its classes and prompts, its calibration chain."""

import importlib.util
import pathlib
import sys

_NEEDED = ("annotated_types", "torch", "tqdm", "yaml")
if sys.version_info < (3, 11) or not all(map(importlib.util.find_spec, _NEEDED)):
    sys.exit(
        "error: this Python lacks what Scenelift needs; run `make demo` once, then .venv/bin/python -m ..."
    )

_LIBRARY = str(pathlib.Path(__file__).resolve().parents[1] / "platform")
if _LIBRARY not in sys.path:
    sys.path.insert(1, _LIBRARY)

# First, because it sets variables that libgomp reads when torch is loaded.
import scenelift  # noqa: E402, F401
