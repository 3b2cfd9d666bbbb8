"""Samples of visual grounding: a room with proposed boxes, and sentences that each refer to one object in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import FrameError
from scenelift.samples.kind import Kind, from_bytes, left_out, require_types, to_bytes
from scenelift.samples.plausible import (
    FARTHEST_IN_ROOM,
    require_array,
    require_finite,
    require_indices,
    require_metres,
    together,
)

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float32]

UNNAMED = -1
"""Class of a sentence that names nothing known; instance of a proposal from a detector."""


@dataclass(frozen=True)
class Sentence:
    """A description of one object."""

    name: str
    """Unique in its room."""
    text: str
    tokens: tuple[str, ...]
    """Lower case."""
    keywords: NDArray[np.bool_]
    """[T] attributes and anchors: the words that the right candidate helps to reconstruct."""
    category: int
    """Annotated class of the object, 0..C-1; for ScanNet's rooms by the benchmark's map."""
    noun: int
    """Class of the sentence's head noun, found by a rule, or `UNNAMED`."""
    head: int
    """Index of that noun's last word, or `UNNAMED`."""
    target: int
    """The object's id in its data set."""
    box: Floats
    """[6] true box of the object; NaN if it is not known. For scores only, never for training."""
    unique: bool = True
    """Whether no other annotated object of the room has its class, by the benchmark's map."""
    hard: bool | None = None
    """Whether more than two objects of the room have its class; None if the data set does not say."""
    view_dependent: bool = False
    """Whether the sentence depends on a point of view."""

    def __post_init__(self) -> None:
        name = f"sentence {self.name}"
        if not self.tokens:
            raise FrameError(f"{name} has no words")
        require_array(name, "keywords", self.keywords, np.bool_, (len(self.tokens),))
        require_array(name, "box", self.box, np.float32, (6,))


@dataclass(frozen=True)
class Room:
    """A room with all or some of its sentences. Shapes: M proposals, D features, C classes, P points, G objects."""

    token: str
    """Unique; a room whose sentences are split has one sample for each part."""
    scene: str
    boxes: Floats
    """[M, 6] proposed boxes: centre, size; metres, in the room's aligned frame (z up)."""
    features: Floats
    """[M, D] features from the detector or another network."""
    class_logits: Floats
    """[M, C] class scores before the softmax."""
    objectness: NDArray[np.bool_]
    """[M] whether the detector considers the proposal an object."""
    instances: NDArray[np.int32]
    """[M] id of the object if proposals are true instances, else `UNNAMED`."""
    sentences: tuple[Sentence, ...]
    points: Floats
    """[P, 3] a sample of the room's points, for pictures."""
    colors: NDArray[np.uint8]
    """[P, 3] RGB."""
    objects: Floats
    """[G, 6] true boxes, for pictures."""
    names: tuple[str, ...]
    """[G] their names."""

    left_out: Mapping[str, int] = field(default_factory=dict)
    """What the reader left out of the room's files, reason -> number, for the report; not stored."""

    def __post_init__(self) -> None:
        m, token = len(self.boxes), self.token
        if not m:
            raise FrameError(f"{token} has no proposals; a room needs some, even if none is an object")
        require_array(token, "boxes", self.boxes, np.float32, (m, 6))
        require_array(token, "features", self.features, np.float32, (m, None))
        require_array(token, "class_logits", self.class_logits, np.float32, (m, None))
        require_array(token, "objectness", self.objectness, np.bool_, (m,))
        require_array(token, "instances", self.instances, np.int32, (m,))
        require_array(token, "points", self.points, np.float32, (len(self.points), 3))
        require_array(token, "colors", self.colors, np.uint8, (len(self.points), 3))
        require_array(token, "objects", self.objects, np.float32, (len(self.names), 6))


_ARRAYS = {
    "boxes": ("<f4", 6),
    "features": ("<f4", -1),
    "class_logits": ("<f4", -1),
    "objectness": ("?", 0),
    "instances": ("<i4", 0),
    "points": ("<f4", 3),
    "colors": ("u1", 3),
    "objects": ("<f4", 6),
}
"""Column -> (dtype on disk, row width); width 0: a flat array, -1: one row per proposal."""


class RoomKind(Kind[Room]):
    """Rooms as rows of Parquet. `about` has `protocol` and `classes` of the source, `features` (D), the number
    of `sentences` and of those that are `unique`, what was `left_out`, and `words` (word -> its number of
    occurrences)."""

    name = "room"
    schema_version = 1
    compressed = frozenset({"points", "colors"})
    make_command = "python -m datasets.shard_rooms scanrefer --root ROOT"

    def check(self, sample: Room, source: Any) -> None:
        """Its boxes are near and none has a negative size, its numbers are finite, its sentences of the source's
        classes."""
        classes = len(source.classes)
        for name, boxes in (("boxes", sample.boxes), ("objects", sample.objects)):
            require_metres(f"{sample.token}: {name}", boxes, FARTHEST_IN_ROOM)
            if (boxes[:, 3:] < 0).any():
                raise FrameError(f"{sample.token}: {name} has a box of negative size")
        require_metres(sample.token, sample.points, FARTHEST_IN_ROOM)
        require_finite(sample.token, sample.features, "features")
        require_finite(sample.token, sample.class_logits, "class_logits")
        wanted = (len(sample.boxes), classes)
        require_array(sample.token, "class_logits", sample.class_logits, np.float32, wanted)
        require_indices(sample.token, "category", [one.category for one in sample.sentences], classes)
        require_indices(sample.token, "noun", [one.noun + 1 for one in sample.sentences], classes + 1)

    def decides(self, source: Any) -> Any:
        """The source's options of reading rooms."""
        return source.reading

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [
                ("token", pa.string()),
                ("scene", pa.string()),
                *((name, pa.binary()) for name in _ARRAYS),
                ("names", pa.list_(pa.string())),
                ("sentences", pa.list_(pa.string())),
            ]
        )

    def to_row(self, sample: Room) -> dict[str, Any]:
        return {
            "token": sample.token,
            "scene": sample.scene,
            "names": list(sample.names),
            "sentences": [_to_json(sentence) for sentence in sample.sentences],
            **to_bytes(sample, _ARRAYS),
        }

    def from_row(self, row: dict[str, Any]) -> Room:
        return Room(
            token=row["token"],
            scene=row["scene"],
            names=tuple(row["names"]),
            sentences=tuple(_from_json(text) for text in row["sentences"]),
            **from_bytes(row, _ARRAYS, len(row["objectness"])),
        )

    def summarize(self, samples: Sequence[Room], source: Any) -> dict[str, Any]:
        """Word counts and sizes of one shard."""
        words = Counter(word for room in samples for sentence in room.sentences for word in sentence.tokens)
        return {
            "words": dict(words),
            "sentences": sum(len(room.sentences) for room in samples),
            "unique": sum(sentence.unique for room in samples for sentence in room.sentences),
            "features": max((room.features.shape[1] for room in samples), default=0),
            "missing": sum(bool(np.isnan(s.box).any()) for room in samples for s in room.sentences),
            "left_out": together(*(room.left_out for room in samples)),
        }

    def check_about(self, about: Mapping[str, Any]) -> None:
        counts: dict[str, Any] = {"features": int, "sentences": int, "missing": int, "words": dict}
        require_types(about, counts | {"protocol": str, "classes": list})

    def describe(self, summaries: Sequence[dict[str, Any]], source: Any, options: Any) -> dict[str, Any]:
        """Totals of all shards; words by descending frequency, then alphabetically."""
        words = sum((Counter(summary["words"]) for summary in summaries), Counter[str]())
        return {
            "protocol": source.protocol,
            "classes": list(source.classes),
            "features": max((summary["features"] for summary in summaries), default=0),
            "sentences": sum(summary["sentences"] for summary in summaries),
            "unique": sum(summary["unique"] for summary in summaries),
            "missing": sum(summary["missing"] for summary in summaries),
            "left_out": left_out(summaries, source),
            "words": dict(sorted(words.items(), key=lambda item: (-item[1], item[0]))),
        }


ROOM = RoomKind()


def _to_json(sentence: Sentence) -> str:
    values = {**vars(sentence), "keywords": np.flatnonzero(sentence.keywords).tolist()}
    box = None if np.isnan(sentence.box).any() else sentence.box.tolist()
    return json.dumps({**values, "box": box})


def _from_json(text: str) -> Sentence:
    values = json.loads(text)
    keywords = np.zeros(len(values["tokens"]), bool)
    keywords[values["keywords"]] = True
    box = np.full(6, np.nan, np.float32) if values["box"] is None else np.array(values["box"], np.float32)
    return Sentence(**{**values, "tokens": tuple(values["tokens"]), "keywords": keywords, "box": box})
