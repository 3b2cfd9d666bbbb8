"""manifest.json: what a folder of shards holds, and the job that made it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scenelift.errors import ShardError
from scenelift.samples.kind import Kind

NAME = "manifest.json"


@dataclass(frozen=True)
class ShardFile:
    """One Parquet file of the folder."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class BadSample:
    """A sample that could not be read and is in no shard."""

    token: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """A folder of shards described, so that nothing else is needed to use it."""

    kind: str
    """Of its samples: `Kind.name`."""
    schema_version: int
    """`Kind.schema_version` of the code that wrote them."""
    dataset: str
    """Name of the data set, such as nuscenes."""
    dataset_version: str
    """Its release, such as v1.0-mini."""
    split: str
    """Name of the split; `all`: everything that was there."""
    about: Mapping[str, Any]
    """What the kind says of the samples: `Kind.describe`."""
    samples: int
    """Samples in the shards, without the bad ones."""
    bytes: int
    shards: tuple[ShardFile, ...]
    """In the order of the samples."""
    bad: tuple[BadSample, ...]
    command: str
    """The command that made the folder."""

    def to_json(self) -> str:
        """The same text for the same content, ready to be written."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, path: str, kind: Kind[Any]) -> Manifest:
        """Read what `to_json` wrote; ShardError for another kind or schema version, or what is no manifest."""
        try:
            values = json.loads(text)
            version = values["schema_version"]
        except (ValueError, KeyError, TypeError):
            raise ShardError(f"{path} is not a manifest; make the shards again") from None
        again = f"make the shards again, into another folder: {values.get('command', 'as you made these')}"
        if values.get("kind", kind.name) != kind.name:
            raise ShardError(f"{path} is of shards of {values['kind']}s, not {kind.name}s; name others")
        if version != kind.schema_version:
            raise ShardError(
                f"{path} has schema version {version}, this code reads {kind.schema_version}; {again}"
            )
        try:
            lists = {
                "shards": tuple(ShardFile(**shard) for shard in values["shards"]),
                "bad": tuple(BadSample(**sample) for sample in values["bad"]),
            }
            return cls(**values | lists)
        except (AttributeError, KeyError, TypeError) as error:
            raise ShardError(f"{path} is damaged ({error}); make the shards again") from None
