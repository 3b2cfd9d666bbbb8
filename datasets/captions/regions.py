"""Regions of images in existing formats: bottom-up-attention's `.npz`, and the HDF5 of CKD's authors.

What a file does not contain is configured, never inferred from its name: the detector's classes come from a list
(one name per line, without background), and the feature width and box unit of an HDF5 file are options.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from datasets.captions.config import BoxUnit
from datasets.common.files import read_bytes
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.geometry.boxes2d import Boxes, area, clip

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Regions:
    """R regions of an image of (height, width) pixels."""

    boxes: Boxes
    """[R, 4] pixels, inside the image, none without area."""
    features: Floats
    """[R, D]."""
    posteriors: Floats
    """[R, 1 + C] background first."""

    def most_confident(self, most: int) -> Regions:
        """The `count` regions with the highest posterior of any class, most confident first."""
        order = np.argsort(-self.posteriors[:, 1:].max(1, initial=0), kind="stable")[:most]
        return Regions(self.boxes[order], self.features[order], self.posteriors[order])


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
    try:
        names = tuple(line.strip().lower() for line in path.read_text().splitlines() if line.strip())
    except OSError:
        names = ()
    if not names:
        raise DataError(f"{path} has no class names; give a file with the detector's classes, one per line")
    return names


class BottomUpFolder:
    """A folder of `IMAGE.npz`: `x` [D, R] or [R, D], `bbox` [R, 4], `cls_prob` [R, 1 + C], `image_w`, `image_h`."""

    def __init__(self, folder: Path, classes: tuple[str, ...]) -> None:
        self.folder, self.classes = folder, classes
        if not folder.is_dir():
            raise DataError(
                f"{folder} is not a folder; give the one with the regions of each image, IMAGE.npz"
            )

    def size(self, image: str) -> tuple[int, int] | None:
        arrays = self._arrays(image)
        return int(arrays["image_h"]), int(arrays["image_w"])

    def read(self, image: str, size: tuple[int, int] | None) -> Regions:
        name, arrays = f"{image}.npz", self._arrays(image)
        own = int(arrays["image_h"]), int(arrays["image_w"])
        if size is not None and size != own:
            raise FrameError(f"{name} is for an image of {own} pixels (height, width), not {size}")
        boxes, posteriors, features = arrays["bbox"], arrays["cls_prob"], arrays["x"]
        if features.ndim == 2 and features.shape[1] == len(boxes):
            features = features.T
        return _checked(name, boxes, features, posteriors, own, self.classes)

    def _arrays(self, image: str) -> Mapping[str, NDArray[Any]]:
        name = f"{image}.npz"
        data = read_bytes(self.folder, name)
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                return {key: file[key] for key in ("x", "bbox", "cls_prob", "image_w", "image_h")}
        except KeyError as error:
            raise FrameError(f"{name} has no {error.args[0].split()[0]}") from None
        except Exception as error:  # zip, header and length are checked by different libraries
            raise FrameError(f"{name} cannot be read: {error}") from None


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
                rows = np.asarray(file[image], np.float32)
        except KeyError:
            raise FrameError(f"{self.path.name} has no {image}") from None
        except (OSError, TypeError, ValueError) as error:
            raise FrameError(f"{image} of {self.path.name} cannot be read: {error}") from None
        return split_rows(image, rows, self.width, self.classes, size, self.box_unit)


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
    """Regions inside the image; FrameError for arrays that do not fit together or are not finite."""
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
    if not kept.any():
        raise FrameError(f"{name} has no region inside an image of {size} pixels (height, width)")
    return Regions(inside[kept], features[kept].astype(np.float32), posteriors[kept].astype(np.float32))


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ConfigError(
            "HDF5 files need the package h5py; install it (extra captions), or give a folder of .npz files"
        ) from None
    return h5py
