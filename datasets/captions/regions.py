"""Regions of images in existing formats: bottom-up-attention's `.npz`, and the HDF5 of CKD's authors.

What a file does not contain is configured, never inferred from its name: the detector's classes come from a list
(one name per line, without background), and the feature width and box unit of an HDF5 file are options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.captions.config import BoxUnit
from datasets.common.files import lines, not_hidden, parse_npz, read_bytes, read_text
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.geometry.boxes2d import Boxes, area, clip
from scenelift.samples.plausible import require_beliefs, require_regions

Floats = NDArray[np.float32]

_FILES_FOR_LAYOUT = 8
"""Files that are looked at to tell regions from channels."""
_LARGEST = 1 << 28
"""Bytes of the rows of an image."""
_NAME = re.compile(r"[^<>{}\[\]=\\|]+")
"""A class name, which no page or program looks like."""


@dataclass(frozen=True)
class Regions:
    """R regions of an image of (height, width) pixels."""

    boxes: Boxes
    """[R, 4] pixels, inside the image, none without area."""
    features: Floats
    """[R, D]."""
    posteriors: Floats
    """[R, 1 + C] background first."""
    outside: int = 0
    """Regions that the file has beside these: they are not in the image, or have no area."""

    def most_confident(self, most: int) -> Regions:
        """The `count` regions with the highest posterior of any class, most confident first."""
        order = np.argsort(-self.posteriors[:, 1:].max(1, initial=0), kind="stable")[:most]
        return Regions(self.boxes[order], self.features[order], self.posteriors[order], self.outside)


class RegionFiles(Protocol):
    """A source of the regions of images. Small to pickle."""

    @property
    def classes(self) -> tuple[str, ...]:
        """[C] the detector's classes, in the order of the posteriors after the background."""

    def read(self, image: str, size: tuple[int, int] | None) -> Regions:
        """The regions of an image, by its file name; size: its required (height, width), if known.

        FrameError for anything wrong with them.
        """

    def size(self, image: str) -> tuple[int, int] | None:
        """(height, width) of an image, if the files contain it."""


def read_classes(path: Path) -> tuple[str, ...]:
    """The detector's classes: one per line; several names of one class are separated by commas (as in Visual
    Genome's list). DataError if there are none."""
    text = read_text(path) if path.is_file() else ""
    names = tuple(line.strip().lower() for line in lines(text))
    if not names:
        raise DataError(f"{path} has no class names; give a file with the detector's classes, one per line")
    if odd := next((name for name in names if not _NAME.fullmatch(name)), None):
        raise DataError(f"{path} has a line that is no class name: {odd[:60]!r}")
    return names


class BottomUpFolder:
    """A folder of `IMAGE.npz`: `x` [D, R] or [R, D], `bbox` [R, 4], `cls_prob` [R, 1 + C], `image_w`, `image_h`."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.folder, self.classes = folder, classes
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder; give the one with the regions of each image, IMAGE.npz"
            )
        self.by_rows, self.width = self._layout()

    def _layout(self) -> tuple[bool, int | None]:
        """Whether `x` is [R, D], and D: from the first of a few files where R is not D; else bottom-up-attention's
        own [D, R]."""
        names = sorted(path.name for path in not_hidden(self.folder.glob("*.npz")))
        for name in names[:_FILES_FOR_LAYOUT]:
            try:
                arrays = self._arrays(name.removesuffix(".npz"))
            except FrameError:
                continue  # it is reported where it is read
            shape, count = arrays["x"].shape, len(arrays["bbox"])
            if shape.count(count) == 1:
                return shape[0] == count, int(shape[1] if shape[0] == count else shape[0])
        return False, None

    def size(self, image: str) -> tuple[int, int] | None:
        return _size(f"{image}.npz", self._arrays(image))

    def read(self, image: str, size: tuple[int, int] | None) -> Regions:
        name, arrays = f"{image}.npz", self._arrays(image)
        own = _size(name, arrays)
        if size is not None and size != own:
            raise FrameError(f"{name} is for an image of {own} pixels (height, width), not {size}")
        boxes, posteriors, features = arrays["bbox"], arrays["cls_prob"], arrays["x"]
        square = features.shape == (len(boxes), len(boxes))
        if features.shape[1] == len(boxes) and not (square and self.by_rows):
            features = features.T
        if len(features) == len(boxes) and self.width not in (None, features.shape[1]):
            raise FrameError(
                f"{name} has features of {features.shape[1]} channels, others in {self.folder} have {self.width}"
            )
        return _checked(name, boxes, features, posteriors, own, self.classes)

    def _arrays(self, image: str) -> Mapping[str, NDArray[Any]]:
        name = f"{image}.npz"
        arrays = parse_npz(name, read_bytes(self.folder, name))
        for key in ("x", "bbox", "cls_prob", "image_w", "image_h"):
            if key not in arrays:
                raise FrameError(f"{name} has no {key}")
            if arrays[key].dtype.kind not in "fiu":
                raise FrameError(f"{name} has {key} of {arrays[key].dtype}, not of numbers")
        if not arrays["x"].ndim == arrays["bbox"].ndim == 2:
            raise FrameError(
                f"{name} has x and bbox of shapes {arrays['x'].shape} and {arrays['bbox'].shape}, not boxes for "
                "features: [D, R] and [R, 4]"
            )
        return arrays


def _size(name: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[int, int]:
    """(height, width) of the image that an .npz file is about."""
    sides = [arrays[key] for key in ("image_h", "image_w")]
    if not all(side.size == 1 and 0 < side.item() < 1e5 for side in sides):
        raise FrameError(f"{name} has image_h and image_w that are no numbers of pixels")
    return int(sides[0].item()), int(sides[1].item())


class AuthorsHdf5:
    """One HDF5 file with a data set per image: rows of feature | class logits, background first | box (ckd.md 2.3).

    Rows of zeros, the authors' padding of images with few regions, are left out: they have no area.
    """

    def __init__(
        self, path: Path, classes: tuple[str, ...], width: int, box_unit: BoxUnit = "pixels"
    ) -> None:
        """width: channels of a feature, such as 2048; together with the classes it determines the row length."""
        self.path, self.classes, self.width, self.box_unit = path, classes, width, box_unit
        if not path.is_file():
            raise DataError(f"{path} is not a file; give the HDF5 file with the regions of all images")
        _h5py()

    def size(self, image: str) -> tuple[int, int] | None:
        return None

    def read(self, image: str, size: tuple[int, int] | None) -> Regions:
        if size is None:
            raise FrameError(f"the size of {image} is unknown; {self.path.name} does not contain it")
        try:
            with _h5py().File(self.path, "r") as file:
                rows = self._rows(file, image)
        except FrameError:
            raise
        except KeyError:
            raise FrameError(f"{self.path.name} has no {image}") from None
        except (
            Exception
        ) as error:  # HDF5 has many: links in a circle, filters that are not here, broken chunks
            reason = " ".join(str(error).split())[:200]
            raise FrameError(f"{image} of {self.path.name} cannot be read: {reason}") from None
        name = f"{image} of {self.path.name}"
        return split_rows(name, rows, self.width, self.classes, size, self.box_unit)

    def _rows(self, file: Any, image: str) -> Floats:
        """The rows of an image; FrameError if they are too many, no numbers, or not in this file."""
        found = _within(file, image, self.path.name)
        if found.nbytes > _LARGEST:
            raise FrameError(
                f"{image} of {self.path.name} has {found.shape} numbers, more than an image's regions"
            )
        return np.asarray(found, np.float32)


def _within(file: Any, name: str, shown: str) -> Any:
    """A data set whose numbers lie in the HDF5 file itself: HDF5 can name any other file instead."""
    if not isinstance(file.get(name, getlink=True), _h5py().ExternalLink):
        rows = file[name]
        if not isinstance(rows, _h5py().Dataset):
            raise FrameError(f"{name} of {shown} is not an array")
        if rows.file == file and not rows.external and not rows.is_virtual:
            return rows
    raise FrameError(f"{name} of {shown} lies in another file; write its numbers into {shown}")


def split_rows(
    name: str,
    rows: Floats,
    width: int,
    classes: tuple[str, ...],
    size: tuple[int, int],
    box_unit: BoxUnit = "pixels",
) -> Regions:
    """[R, D + (1 + C) + 4] rows in the authors' layout -> regions, logits as probabilities."""
    wanted = width + 1 + len(classes) + 4
    if rows.ndim != 2 or rows.shape[1] != wanted:
        raise FrameError(
            f"{name} has rows of {rows.shape[-1] if rows.ndim else 0} numbers, not of {width} + "
            f"{1 + len(classes)} + 4; check --feature_width and --classes"
        )
    features, logits, boxes = np.split(rows, [width, wanted - 4], axis=1)
    found: BoxUnit = "shares" if boxes.max(initial=0) <= 1.01 else "pixels"
    if boxes.any() and found != box_unit:
        raise FrameError(f"{name} has boxes in {found}, not in {box_unit}; give --box_unit {found}")
    if box_unit == "shares":
        boxes = boxes * np.array([size[1], size[0]] * 2, np.float32)
    shares = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    return _checked(name, boxes, features, shares / shares.sum(1, keepdims=True), size, classes)


def _checked(
    name: str,
    boxes: Floats,
    features: Floats,
    posteriors: Floats,
    size: tuple[int, int],
    classes: tuple[str, ...],
) -> Regions:
    """Regions inside the image; FrameError for arrays that do not fit together, are not finite, or are no boxes in
    pixels and probabilities."""
    count = len(boxes)
    if boxes.shape != (count, 4) or features.ndim != 2 or len(features) != count:
        raise FrameError(f"{name} has {boxes.shape} boxes for {features.shape} features")
    if posteriors.shape != (count, 1 + len(classes)):
        raise FrameError(
            f"{name} has posteriors of shape {posteriors.shape}; {count} regions and {len(classes)} classes need "
            f"({count}, {1 + len(classes)}), background first"
        )
    if not all(np.isfinite(array).all() for array in (boxes, features, posteriors)):
        raise FrameError(f"{name} has numbers that are not finite")
    inside = clip(boxes, size)
    kept = area(inside) > 0
    if not kept.any() and (boxes[:, :2] <= boxes[:, 2:]).all():
        raise FrameError(f"{name} has no region inside an image of {size} pixels (height, width)")
    require_regions(name, boxes, size)
    require_beliefs(name, posteriors)
    padding = ~np.asarray(boxes).any(1)
    return Regions(
        inside[kept],
        features[kept].astype(np.float32),
        posteriors[kept].astype(np.float32),
        int((~kept & ~padding).sum()),
    )


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "HDF5 files need the package h5py; install it (extra captions), or give a folder of .npz files"
        ) from None
    return h5py
