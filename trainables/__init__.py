"""Methods: one room each, with its config, its model wiring, its losses, its command."""

import pathlib
import sys

_LIBRARY = str(pathlib.Path(__file__).resolve().parents[1] / "platform")
if _LIBRARY not in sys.path:
    sys.path.insert(1, _LIBRARY)

# First of all: it sets what libgomp reads when torch is loaded.
import scenelift  # noqa: E402, F401
