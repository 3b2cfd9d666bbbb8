"""Settings of the sparse convolutions."""

from __future__ import annotations

from typing import Literal

Engine = Literal["auto", "spconv", "torch"]
