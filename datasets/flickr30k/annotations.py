"""Flickr30K Entities' annotation files: the boxes of an image's chains."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from datasets.captions.options import Box, ordered
from scenelift.errors import FrameError
from scenelift.geometry.boxes2d import Boxes, union

_LARGEST_SIDE = 100_000
"""Sides of images are below it, pixels."""


@dataclass(frozen=True)
class Annotation:
    """One image's file."""

    size: tuple[int, int]
    """(height, width), pixels."""
    boxes: dict[str, Boxes]
    """Chain -> [N, 4] all its annotated boxes, pixels from 0."""
    scenes: frozenset[str]
    """Chains that refer to the entire scene."""
    unboxed: frozenset[str]
    """Chains for which annotators found no box."""

    def union(self, chain: str) -> tuple[float, float, float, float] | None:
        """The smallest box around all boxes of a chain; None if it has none."""
        if chain not in self.boxes:
            return None
        x1, y1, x2, y2 = union(self.boxes[chain]).tolist()
        return x1, y1, x2, y2


def read_annotation(name: str, data: bytes) -> Annotation:
    """Parse a file; its coordinates are 1-based integers, so 1 is subtracted (ckd.md 2.1).

    An object may have several chains, and a chain may have several objects. A box one pixel wide or high, and one
    whose sides are swapped, is read as what it is. FrameError for any other file.
    """
    try:
        root = ElementTree.fromstring(data)
        size = int(_text(root, "size/height")), int(_text(root, "size/width"))
        boxes: dict[str, list[Box]] = {}
        flags: dict[str, set[str]] = {"scene": set(), "nobndbox": set()}
        for thing in root.iter("object"):
            chains = [chain.text or "" for chain in thing.iter("name")]
            box = thing.find("bndbox")
            if box is not None:
                sides = [int(_text(box, side)) - 1 for side in ("xmin", "ymin", "xmax", "ymax")]
                corners = ordered(name, sides)
                for chain in chains:
                    boxes.setdefault(chain, []).append(corners)
            for flag, flagged in flags.items():
                if thing.findtext(flag, "0").strip() == "1":
                    flagged.update(chains)
    except (ElementTree.ParseError, ValueError, LookupError, OverflowError) as error:
        raise FrameError(f"{name} is not an annotation of Flickr30K Entities: {error}") from None
    if not all(0 < side < _LARGEST_SIDE for side in size):
        raise FrameError(f"{name} is about an image of {size} pixels (height, width)")
    return Annotation(
        size,
        {chain: np.array(corners, np.float32) for chain, corners in boxes.items()},
        frozenset(flags["scene"]),
        frozenset(flags["nobndbox"]),
    )


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"{path} is missing")
    return text
