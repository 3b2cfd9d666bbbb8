"""Settings of the sparse convolutions."""

from __future__ import annotations

from scenelift.config.outside import Group

GROUP: Group = "scenelift.engines"
ENGINES = ("auto", "spconv", "torch")
"""`auto`: spconv where it is installed, else plain torch."""
Engine = str
"""One of `ENGINES`, or a class of your own (`scenelift.config.outside`)."""
