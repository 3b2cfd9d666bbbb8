"""ReferItGame as a source of captioned images: all expressions of a photo are the phrases of one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.captions.config import CaptionOptions
from datasets.captions.options import captioned_image, read_photo
from datasets.captions.phrase_classes import phrase_classes
from datasets.captions.regions import RegionFiles
from datasets.common.files import Size, image_size, read_bytes
from scenelift.errors import DataError, FrameError
from scenelift.samples.caption import CaptionedImage, Phrase

EXPRESSIONS = "expressions.json"
SPLITS = ("train", "val", "test")
_PHOTOS = "images"


@dataclass(frozen=True)
class Photo:
    """One photo with its expressions."""

    token: str
    """The photo's file name without its extension, such as 10000."""
    expressions: tuple[tuple[str, tuple[float, float, float, float]], ...]
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
        photos: dict[str, list[tuple[str, tuple[float, float, float, float]]]] = {}
        for entry in self._entries():
            image, own, box, queries = entry
            if split in (None, own):
                photos.setdefault(image, []).extend((" ".join(query.split()), box) for query in queries)
        if not photos:
            raise DataError(f"{self.root} has no image{f' of {split}' if split else ''}")
        return [Photo(Path(image).stem, tuple(expressions)) for image, expressions in photos.items()]

    def _entries(self) -> list[tuple[str, str, tuple[float, float, float, float], list[str]]]:
        try:
            listed: list[dict[str, Any]] = json.loads((self.root / EXPRESSIONS).read_text())
            entries = []
            for entry in listed:
                x1, y1, x2, y2 = map(float, entry["bbox"])
                queries = entry["query"]
                if not isinstance(queries, list):
                    raise TypeError(f"query {queries!r} is not a list")
                entries.append((str(entry["img_id"]), str(entry["split"]), (x1, y1, x2, y2), queries))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self.root / EXPRESSIONS} is not a list of objects with img_id, bbox, split and query: {error!r}"
            ) from None
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
            return image_size(read_bytes(self.root / _PHOTOS, image))
        except (OSError, SyntaxError) as error:
            raise FrameError(f"{image} is not an image: {error}") from None
        except FrameError:
            raise FrameError(
                f"the regions of {image} do not include its size, and it is not in {self.root / _PHOTOS}; put the "
                "photos there, or use regions from .npz files"
            ) from None
