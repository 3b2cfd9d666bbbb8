"""Samples of phrase grounding: images as regions, with the phrases of their sentences; their rows in shards."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError, FrameError
from scenelift.geometry.boxes2d import Boxes
from scenelift.samples.kind import Kind, Manifest, from_bytes, left_out, require_types, to_bytes
from scenelift.samples.plausible import (
    require_array,
    require_beliefs,
    require_finite,
    require_indices,
    together,
)

if TYPE_CHECKING:
    import pyarrow as pa

_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*|'[^\W\d_]+")  # letters and digits of any script


def words_of(text: str) -> list[str]:
    """The words of a phrase, lower-case, without punctuation: "that's a T-shirt!" -> that, 's, a, t-shirt."""
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()))


@dataclass(frozen=True)
class Phrase:
    """A noun phrase of a sentence."""

    text: str
    """As written in the sentence; words are separated by spaces."""
    sentence: int
    """Index of its sentence among the image's, from 0."""
    types: tuple[str, ...] = ()
    """The data set's types of what it names (Flickr30K: people, clothing, ...); one or more, or none."""
    classes: tuple[tuple[int, float], ...] = ()
    """Detector classes 1..C that it names, with weights that sum to 1; empty if no class fits."""
    box: tuple[float, float, float, float] | None = None
    """The smallest box around all boxes annotated for it, pixels; None if there are none."""


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its sentences. Shapes: R regions, D feature channels, C detector classes."""

    token: str
    """Unique name of the image in its data set."""
    size: tuple[int, int]
    """(height, width) of the image, pixels; boxes are inside it."""
    sentences: tuple[str, ...]
    """Plain text, without annotation."""
    phrases: tuple[Phrase, ...]
    """The phrases of all sentences, in the order of the text."""
    boxes: Boxes
    """[R, 4] proposed regions, most confident first: x1, y1, x2, y2, pixels."""
    features: NDArray[np.float16]
    """[R, D] the detector backbone's feature of each region."""
    posteriors: NDArray[np.float16] | None
    """[R, 1 + C] a detector's probabilities of background and classes, for training only; None: no detector."""
    neighbours: NDArray[np.int16]
    """[R, K] the regions with the largest IoU with each: `scenelift.geometry.boxes2d.neighbours`."""
    photo: bytes | None = None
    """The encoded photo, of `size`; None if it was not kept."""

    left_out: Mapping[str, int] = field(default_factory=dict)
    """What the reader left out of the image's files, reason -> number, for the report; not stored."""

    def __post_init__(self) -> None:
        regions, token = len(self.boxes), self.token
        require_array(token, "boxes", self.boxes, np.float32, (regions, 4))
        require_array(token, "features", self.features, np.float16, (regions, None))
        if self.posteriors is not None:
            require_array(token, "posteriors", self.posteriors, np.float16, (regions, None))
        require_array(token, "neighbours", self.neighbours, np.int16, (regions, None))
        require_indices(
            token, "sentence of a phrase", [one.sentence for one in self.phrases], len(self.sentences)
        )

    @property
    def scene(self) -> str:
        """Unit of hold-out: each image by itself."""
        return self.token


_DTYPES = {"boxes": "<f4", "features": "<f2", "posteriors": "<f2", "neighbours": "<i2"}
_ARRAYS = {name: (dtype, -1) for name, dtype in _DTYPES.items()}
"""Column -> (dtype on disk, row width); each has one row per region."""


@dataclass(frozen=True)
class RegionStatistics:
    """Standardization of features: one mean and one standard deviation over all channels of all regions."""

    width: int
    """Channels of a region's feature."""
    mean: float
    std: float

    @classmethod
    def of(cls, sums: Iterable[tuple[int, int, float, float]]) -> RegionStatistics:
        """From the `feature_sums` of parts of the data; those without regions are left out."""
        parts = [part for part in sums if part[1]]
        widths = {width for width, *_ in parts}
        if len(widths) != 1:
            raise DataError(f"regions have features of {_listed(widths)} channels; make all by one detector")
        count, total, squares = (sum(part[i] for part in parts) for i in (1, 2, 3))
        mean = total / count
        return cls(widths.pop(), mean, max(squares / count - mean**2, 1e-12) ** 0.5)


def feature_sums(features: Iterable[NDArray[np.floating]]) -> tuple[int, int, float, float]:
    """Channels, count, sum, and sum of squares of the values in [*, D] arrays."""
    width, count, total, squares = 0, 0, 0.0, 0.0
    for array in features:
        wide = np.asarray(array, np.float64)
        if wide.shape[1] != (width or wide.shape[1]):
            widths = _listed({width, wide.shape[1]})
            raise DataError(f"regions have features of {widths} channels; make all by one detector")
        width, count = wide.shape[1], count + wide.size
        total, squares = total + float(wide.sum()), squares + float(np.square(wide).sum())
    return width, count, total, squares


def _listed(widths: set[int]) -> str:
    return " and ".join(map(str, sorted(widths))) or "no"


@dataclass(frozen=True)
class CaptionSet:
    """Description of a folder of captioned images."""

    classes: tuple[str, ...]
    """The detector's classes, without the background."""
    neighbours: int
    """Neighbours kept for each region."""
    most_regions: int
    """Largest number of regions of an image."""
    regions: int
    """Regions of all images."""
    statistics: RegionStatistics
    sentences: int
    phrases: int
    boxed: int
    """Phrases with a box."""
    mapped: int
    """Phrases that name a class of the detector."""
    distinct: int
    """Different texts of phrases."""
    distinct_mapped: int
    """Different texts that name a class of the detector."""
    types: Mapping[str, int]
    """Type -> number of phrases."""
    words: Mapping[str, int]
    """Every word of the phrases -> its number of occurrences."""
    posteriors: bool
    """Whether every image has the detector's posteriors."""
    photos: bool
    """Whether every image has its photo."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What of the data set's files is not in the samples: reason -> number."""

    @classmethod
    def of(cls, manifest: Manifest) -> CaptionSet:
        """From the manifest of a folder of captioned images."""
        return cls.read(manifest.about)

    @classmethod
    def read(cls, about: Mapping[str, Any]) -> CaptionSet:
        """From what `CaptionedImageKind.describe` wrote."""
        about = dict(about)
        statistics, classes = RegionStatistics(**about.pop("statistics")), tuple(about.pop("classes"))
        return cls(statistics=statistics, classes=classes, **about)

    @property
    def coverage(self) -> str:
        """For how many phrases the detector has a class, in words."""
        return (
            f"{self.mapped:,} phrases ({self.mapped / max(self.phrases, 1):.0%}) name a class of the detector; "
            f"{self.distinct_mapped:,} of {self.distinct:,} different ones"
        )


class CaptionedImageKind(Kind[CaptionedImage]):
    """Images as regions, with their sentences as phrases."""

    name = "captioned image"
    schema_version = 1
    compressed = frozenset(("posteriors",))
    make_command = "python -m datasets.shard_captions flickr30k --root ROOT --regions DIR --classes FILE"

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [
                ("token", pa.string()),
                ("scene", pa.string()),
                ("height", pa.int32()),
                ("width", pa.int32()),
                ("sentences", pa.list_(pa.string())),
                ("phrases", pa.string()),
                ("n_regions", pa.int32()),
                *((name, pa.binary()) for name in _ARRAYS),
                ("photo", pa.binary()),
            ]
        )

    def check(self, sample: CaptionedImage, source: Any) -> None:
        """Its boxes are inside of it and have an area, each region's probabilities sum to 1, phrases name the
        detector's classes, neighbours are regions."""
        classes = len(source.classes)
        boxes = np.array([one.box for one in sample.phrases if one.box is not None]).reshape(-1, 4)
        height, width = sample.size
        for name, found in (("regions", sample.boxes), ("phrases", boxes)):
            inside = (found[:, :2] >= 0) & (found[:, :2] < found[:, 2:]) & (found[:, 2:] <= (width, height))
            if not inside.all():
                raise FrameError(
                    f"{sample.token} has {name} whose boxes are not within {width}x{height} pixels"
                )
        require_finite(sample.token, sample.features, "features")
        require_indices(sample.token, "neighbours", sample.neighbours.ravel(), len(sample.boxes))
        if sample.posteriors is not None:
            wanted = (len(sample.boxes), 1 + classes)
            require_array(sample.token, "posteriors", sample.posteriors, np.float16, wanted)
            require_beliefs(sample.token, sample.posteriors)
        for phrase in sample.phrases:
            require_indices(sample.token, "classes of a phrase", [n - 1 for n, _ in phrase.classes], classes)

    def decides(self, source: Any) -> Any:
        """The detector's classes."""
        return list(source.classes)

    def to_row(self, sample: CaptionedImage) -> dict[str, Any]:
        return {
            "token": sample.token,
            "scene": sample.scene,
            "height": sample.size[0],
            "width": sample.size[1],
            "sentences": list(sample.sentences),
            "phrases": json.dumps([list(asdict(phrase).values()) for phrase in sample.phrases]),
            "n_regions": len(sample.boxes),
            "photo": sample.photo,
            **to_bytes(sample, _ARRAYS),
        }

    def from_row(self, row: dict[str, Any]) -> CaptionedImage:
        return CaptionedImage(
            token=row["token"],
            size=(row["height"], row["width"]),
            sentences=tuple(row["sentences"]),
            phrases=tuple(_phrase(*values) for values in json.loads(row["phrases"])),
            photo=None if row["photo"] is None else bytes(row["photo"]),
            **from_bytes(row, _ARRAYS, row["n_regions"]),
        )

    def summarize(self, samples: Sequence[CaptionedImage], source: Any) -> dict[str, Any]:
        phrases = [phrase for sample in samples for phrase in sample.phrases]
        return {
            "features": feature_sums(sample.features for sample in samples),
            "regions": [len(sample.boxes) for sample in samples],
            "sentences": sum(len(sample.sentences) for sample in samples),
            "boxed": sum(phrase.box is not None for phrase in phrases),
            "mapped": Counter(phrase.text.lower() for phrase in phrases if phrase.classes),
            "unmapped": Counter(phrase.text.lower() for phrase in phrases if not phrase.classes),
            "types": Counter(name for phrase in phrases for name in phrase.types),
            "posteriors": all(sample.posteriors is not None for sample in samples),
            "photos": all(sample.photo is not None for sample in samples),
            "left_out": together(
                {"images without a phrase": sum(not sample.phrases for sample in samples)},
                *(sample.left_out for sample in samples),
            ),
        }

    def check_about(self, about: Mapping[str, Any]) -> None:
        counts: dict[str, Any] = dict.fromkeys(("neighbours", "most_regions", "regions", "sentences"), int)
        counts |= dict.fromkeys(("phrases", "boxed", "mapped", "distinct", "distinct_mapped"), int)
        flags = {"posteriors": bool, "photos": bool}
        require_types(about, counts | flags | {"classes": list, "types": dict, "words": dict})
        statistics = CaptionSet.read(about).statistics
        if not (statistics.width >= 0 and math.isfinite(statistics.mean + statistics.std)):
            raise ValueError(f"features are described by {statistics}")

    def describe(self, summaries: Sequence[dict[str, Any]], source: Any, options: Any) -> dict[str, Any]:
        totals: dict[str, Counter[str]] = {name: Counter() for name in ("mapped", "unmapped", "types")}
        for part in summaries:
            for name, total in totals.items():
                total.update(part[name])
        mapped, unmapped, types = totals.values()
        words: Counter[str] = Counter()
        for text, count in (mapped + unmapped).items():
            words.update({word: count * times for word, times in Counter(words_of(text)).items()})
        regions = [count for part in summaries for count in part["regions"]]
        return asdict(
            CaptionSet(
                classes=tuple(source.classes),
                neighbours=options.neighbours,
                most_regions=max(regions),
                regions=sum(regions),
                statistics=RegionStatistics.of(part["features"] for part in summaries),
                sentences=sum(part["sentences"] for part in summaries),
                phrases=mapped.total() + unmapped.total(),
                boxed=sum(part["boxed"] for part in summaries),
                mapped=mapped.total(),
                distinct=len(mapped) + len(unmapped),
                distinct_mapped=len(mapped),
                types=dict(sorted(types.items())),
                words=dict(sorted(words.items())),
                posteriors=all(part["posteriors"] for part in summaries),
                photos=all(part["photos"] for part in summaries),
                left_out=left_out(summaries, source),
            )
        )


CAPTIONED_IMAGE = CaptionedImageKind()


def _phrase(text: str, sentence: int, types: list[str], classes: list[Any], box: list[Any] | None) -> Phrase:
    weights = tuple((int(number), float(weight)) for number, weight in classes)
    corners = None if box is None else (box[0], box[1], box[2], box[3])
    return Phrase(text, sentence, tuple(types), weights, corners)
