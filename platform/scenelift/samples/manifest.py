"""manifest.json: the contents of a folder of shards, and the job that made it."""

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
    """A sample that could not be read, so no shard has it."""

    token: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """Description of a folder of shards; nothing else is needed to use it."""

    kind: str
    """Kind of its samples: `Kind.name`."""
    schema_version: int
    """`Kind.schema_version` of the code that wrote them."""
    dataset: str
    """Name of the data set, such as nuscenes."""
    dataset_version: str
    """Its release, such as v1.0-mini."""
    split: str
    """Name of the split; `all`: the complete data set."""
    about: Mapping[str, Any]
    """Description by the kind: `Kind.describe`."""
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
        """Inverse of `to_json`; ShardError for another kind or schema version, or text that is not a manifest."""
        try:
            values = json.loads(text)
            version = values["schema_version"]
        except (ValueError, KeyError, TypeError):
            raise ShardError(f"{path} is not a manifest; make the shards again") from None
        again = f"make the shards again, into another folder: {values.get('command', 'as you made these')}"
        if values.get("kind", kind.name) != kind.name:
            raise ShardError(
                f"{path} describes shards of {values['kind']}s, not of {kind.name}s; name others"
            )
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
