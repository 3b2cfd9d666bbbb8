"""manifest.json: what a folder of shards holds, and the job that made it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scenelift.errors import ShardError
from scenelift.frames import SCHEMA_VERSION
from scenelift.vocabulary import Vocabulary

NAME = "manifest.json"


@dataclass(frozen=True)
class ShardFile:
    """One Parquet file of the folder."""

    name: str
    frames: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BadFrame:
    """A keyframe that could not be read and is in no shard."""

    token: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """A folder of shards described, so that nothing else is needed to use it."""

    schema_version: int
    """`frames.SCHEMA_VERSION` of the code that wrote the rows."""
    dataset: str
    """Name of the data set, such as nuscenes."""
    dataset_version: str
    """Its release, such as v1.0-mini."""
    split: str
    """Name of the split; `all`: every scene that was there."""
    vocabulary: Vocabulary
    prompts: str
    """`vocabulary.version`: changes with every class and every prompted word."""
    image_size: tuple[int, int]
    """(height, width) of the stored images, pixels."""
    sweeps: int
    """Earlier sweeps in every frame."""
    superpixels: int
    """SLIC segments asked for of every image; 0: the frames hold none."""
    cameras: tuple[str, ...]
    frames: int
    """Frames in the shards, without the bad ones."""
    points: int
    """Points of all frames with their sweeps."""
    pairs: Mapping[str, int]
    """Camera -> point-pixel pairs."""
    labels: Mapping[str, int] | None
    """Class, or `ignored` -> points of the keyframes themselves; None where the data set has no labels."""
    bytes: int
    shards: tuple[ShardFile, ...]
    """In the order of the frames."""
    bad_frames: tuple[BadFrame, ...]
    command: str
    """The command that made the folder."""

    def to_json(self) -> str:
        """The same text for the same content, ready to be written."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, path: str) -> Manifest:
        """Read what `to_json` wrote; ShardError for another schema version or what is no manifest."""
        try:
            values = json.loads(text)
            version = values["schema_version"]
        except (ValueError, KeyError, TypeError):
            raise ShardError(f"{path} is not a manifest; make the shards again with datasets.shard") from None
        if version != SCHEMA_VERSION:
            raise ShardError(
                f"{path} has schema version {version}, this code reads {SCHEMA_VERSION}; make the shards "
                f"again, into another folder: {values.get('command', 'python -m datasets.shard')}"
            )
        try:
            return cls(**_typed(values))
        except (AttributeError, KeyError, TypeError) as error:
            raise ShardError(f"{path} is damaged ({error}); make the shards again") from None


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """JSON's lists and objects as the manifest's own types."""
    vocabulary = values["vocabulary"]
    return values | {
        "vocabulary": Vocabulary(
            name=vocabulary["name"],
            classes=tuple(vocabulary["classes"]),
            words=tuple(tuple(words) for words in vocabulary["words"]),
            colours=tuple(tuple(colour) for colour in vocabulary["colours"]),
        ),
        "image_size": tuple(values["image_size"]),
        "cameras": tuple(values["cameras"]),
        "shards": tuple(ShardFile(**shard) for shard in values["shards"]),
        "bad_frames": tuple(BadFrame(**frame) for frame in values["bad_frames"]),
    }
