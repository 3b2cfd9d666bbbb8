"""ReferItGame as a source of captioned images: all expressions of a photo are the phrases of one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.captions.config import CaptionOptions
from datasets.captions.options import Box, captioned_image, ordered, read_photo
from datasets.captions.phrase_classes import phrase_classes
from datasets.captions.regions import RegionFiles
from datasets.common.files import Size, image_size, read_bytes, read_json
from datasets.common.listing import note
from scenelift.errors import DataError, FrameError
from scenelift.samples.caption import CaptionedImage, Phrase

EXPRESSIONS = "expressions.json"
SPLITS = ("train", "val", "test")
_PHOTOS = "images"
_MOST_SWAPPED = 0.05
"""Share of boxes with swapped sides in a file of corners; in one of widths and heights it is about half."""


@dataclass(frozen=True)
class Photo:
    """One photo with its expressions."""

    token: str
    """The photo's file name without its extension, such as 10000."""
    expressions: tuple[tuple[str, Box], ...]
    """Each with the box of its thing: x1, y1, x2, y2, pixels."""


class ReferIt:
    """ReferItGame as one JSON file, `ROOT/expressions.json`.

    A list of objects with `img_id` ("10000.jpg"), `bbox` [x1, y1, x2, y2] in pixels, `split` (train, val or test)
    and `query`, the list of expressions for this box. Photos, if kept, are in `ROOT/images`. Small to pickle.
    """

    name = "referit"

    def __init__(self, root: Path, regions: RegionFiles, version: str = "1.0") -> None:
        """DataError if the root has no such file."""
        self.root, self.regions, self.version = root, regions, version
        self.left_out: dict[str, int] = {}
        if not (root / EXPRESSIONS).is_file():
            raise DataError(f"{root} has no {EXPRESSIONS}; give the folder that holds it")

    @property
    def classes(self) -> tuple[str, ...]:
        """[C] the detector's classes."""
        return self.regions.classes

    def list_samples(self, split: str | None = None) -> list[Photo]:
        """The photos of a split (None: all), in the file's order.

        Raises DataError for an unknown split, one without photos, or a file of another format.
        """
        if split is not None and split not in SPLITS:
            raise DataError(f"unknown split {split}; known: {', '.join(SPLITS)}")
        self.left_out = {}
        photos: dict[str, list[tuple[str, Box]]] = {}
        blank = 0
        for image, own, box, queries in self._entries():
            if split in (None, own):
                texts = [" ".join(query.split()) for query in queries]
                photos.setdefault(image, []).extend((text, box) for text in texts if text)
                blank += texts.count("")
        note(self.left_out, "expressions without a word", blank)
        photos = {image: expressions for image, expressions in photos.items() if expressions}
        if not photos:
            raise DataError(f"{self.root / EXPRESSIONS} has no image{f' of {split}' if split else ''}")
        return [Photo(Path(image).stem, tuple(expressions)) for image, expressions in photos.items()]

    def _entries(self) -> list[tuple[str, str, Box, list[str]]]:
        path = self.root / EXPRESSIONS
        listed: list[dict[str, Any]] = read_json(path)
        try:
            corners = [tuple(map(float, entry["bbox"])) for entry in listed]
            entries = []
            for entry, box in zip(listed, corners, strict=True):
                image, split = _texts([entry["img_id"], entry["split"]])
                entries.append((image, split, ordered(path.name, box), _texts(entry["query"])))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, FrameError) as error:
            raise DataError(
                f"{path} is not a list of objects with img_id, bbox, split and query: {error!r}"
            ) from None
        _require_corners(path, np.array(corners).reshape(-1, 4))
        return entries

    def read(self, keyframe: Photo, options: CaptionOptions) -> CaptionedImage:
        """Read one photo: its expressions as the phrases of one sentence (ckd.md 2.2), and its regions.

        FrameError for anything wrong with its files.
        """
        image = f"{keyframe.token}.jpg"
        size = self.regions.size(image) or self._photo_size(image)
        classes = phrase_classes(self.regions.classes, options.wordnet, options.mixture)
        return captioned_image(
            keyframe.token,
            size,
            [" ; ".join(text for text, _ in keyframe.expressions)],
            [Phrase(text, 0, (), classes(text), box) for text, box in keyframe.expressions],
            self.regions.read(image, size),
            options,
            read_photo(self.root / _PHOTOS, image, size) if options.photos else None,
        )

    def _photo_size(self, image: str) -> Size:
        """Size of the photo itself; FrameError if it is missing."""
        try:
            data = read_bytes(self.root / _PHOTOS, image)
        except FrameError:
            raise FrameError(
                f"the regions of {image} do not include its size, and it is not in {self.root / _PHOTOS}; put the "
                "photos there, or use regions from .npz files"
            ) from None
        try:
            return image_size(data)
        except FrameError as error:
            raise FrameError(f"{image} is not an image: {error}") from None


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is not a list of texts")
    return values


def _require_corners(path: Path, boxes: NDArray[np.float64]) -> None:
    """DataError for boxes of another form: a few may have their sides swapped, not many."""
    if len(boxes) and 0 < boxes.max() <= 1.01:
        raise DataError(f"{path} has boxes in shares of the image's sides; multiply them by its pixels")
    if (boxes[:, 2:] < boxes[:, :2]).any(1).mean() > _MOST_SWAPPED:
        raise DataError(
            f"{path} has many boxes whose right or lower side comes first; bbox is x1, y1, x2, y2; these may be "
            "x, y, width, height"
        )
