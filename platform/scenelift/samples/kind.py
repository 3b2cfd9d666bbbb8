"""The interface of kinds of samples to shards, sources of samples, and the manifest of a folder of shards."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from scenelift.errors import FrameError, SceneliftError, ShardError
from scenelift.samples.plausible import together

if TYPE_CHECKING:
    import pyarrow as pa


class SampleKey(Protocol):
    """The key of one sample: small and picklable."""

    @property
    def token(self) -> str:
        """Unique name of the sample in its data set."""


class Sample(SampleKey, Protocol):
    """One row of a shard."""

    @property
    def scene(self) -> str:
        """Samples of one scene are held out together."""


S = TypeVar("S", bound=Sample)


class SampleSource(Protocol):
    """A data set for the shard job: keys of samples that any process can read. Small to pickle. It may have a dict
    `left_out`, set by `list_samples`: what the list lacks of the split, reason -> number, for the manifest."""

    name: str
    """Name of the data set, such as nuscenes."""
    version: str
    """Its release, such as v1.0-mini."""

    def list_samples(self, split: str | None) -> list[Any]:
        """The `SampleKey`s of the split (None: all), in a fixed order; DataError if it is unknown or empty."""

    def read(self, keyframe: Any, options: Any) -> Any:
        """Read one sample; FrameError says what is wrong with its files."""


class Kind(ABC, Generic[S]):
    """A kind of sample: its rows, and the description of a folder of them. Stateless and small to pickle."""

    name: str
    """Singular, for messages: frame, room."""
    schema_version: int
    """Changes with the meaning of the rows or of `describe`."""
    compressed: frozenset[str]
    """Binary columns that zstd makes smaller; the others are stored uncompressed."""
    make_command: str
    """Command that writes shards of this kind, without `--out`; messages advise it."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Schema of a row; it has the string columns `token` and `scene`."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def read(self, source: Any, keyframe: Any, options: Any) -> S:
        """The sample of one of the source's keys, checked; FrameError says what is wrong with it, also where a
        reader or a library below it raises another error: one odd file is one bad sample."""
        try:
            sample = self.made(source, keyframe, options)
            self.check(sample, source)
        except SceneliftError:
            raise
        except Exception as error:
            raise FrameError(f"{keyframe.token}: {described(error)}") from error
        return sample

    def made(self, source: Any, keyframe: Any, options: Any) -> S:
        """What the source reads, before it is checked."""
        sample: S = source.read(keyframe, options)
        return sample

    @abstractmethod
    def check(self, sample: S, source: Any) -> None:
        """FrameError for content that no real data has (`scenelift.samples.plausible`). For what a reader makes,
        once, before it is stored."""

    def decides(self, source: Any) -> Any:
        """Other properties of the source that determine the rows, besides name, version and tokens, as JSON."""
        return None

    @abstractmethod
    def to_row(self, sample: S) -> dict[str, Any]:
        """The sample as one row: arrays as raw little-endian bytes, with their counts."""

    @abstractmethod
    def from_row(self, row: dict[str, Any]) -> S:
        """Inverse of `to_row`; binary values may be buffers, and arrays are read-only views of them."""

    @abstractmethod
    def summarize(self, samples: Sequence[S], source: Any) -> dict[str, Any]:
        """The summary of one shard for `describe`, as JSON."""

    @abstractmethod
    def describe(self, summaries: Sequence[dict[str, Any]], source: Any, options: Any) -> dict[str, Any]:
        """The manifest's `about` for all shards of a source, read with these options, as JSON."""

    @abstractmethod
    def check_about(self, about: Mapping[str, Any]) -> None:
        """Any error for an `about` that `describe` cannot have made: a manifest is checked when it is opened."""


def left_out(summaries: Sequence[dict[str, Any]], source: Any) -> dict[str, int]:
    """What the source left out of its list of samples, and its reader out of each sample: reason -> number."""
    return together(getattr(source, "left_out", {}), *(part.get("left_out", {}) for part in summaries))


def require_types(about: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """ValueError unless these values have these types; a list or dict is one of texts, or of numbers by name."""
    for name, kind in types.items():
        value = about.get(name)
        parts = value if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
        inner = str if isinstance(value, list) else tuple
        named = all(isinstance(part, inner) for part in parts)
        numbers = not isinstance(value, dict) or all(isinstance(each, int) for each in value.values())
        if not isinstance(value, kind) or not named or not numbers:
            raise ValueError(f"no {name}, or something else in its place")


def described(error: Exception) -> str:
    """An error of a library in one line: its type, its message, and the place that raised it."""
    text = " ".join(str(error).split())[:200]
    place = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}{f': {text}' if text else ''} ({PurePath(place.filename).name}:{place.lineno})"


def to_bytes(sample: Any, arrays: Mapping[str, tuple[str, int]]) -> dict[str, bytes | None]:
    """The arrays of a sample as little-endian bytes. arrays: name -> (dtype on disk, row width)."""
    values = {name: getattr(sample, name) for name in arrays}
    return {
        name: None if values[name] is None else np.ascontiguousarray(values[name], dtype).tobytes()
        for name, (dtype, _) in arrays.items()
    }


def from_bytes(row: dict[str, Any], arrays: Mapping[str, tuple[str, int]], rows: int = 0) -> dict[str, Any]:
    """Inverse of `to_bytes`, as read-only views. Width 0: a flat array; -1: an array of `rows` rows."""
    values: dict[str, Any] = {}
    for name, (dtype, width) in arrays.items():
        flat = None if row[name] is None else np.frombuffer(row[name], dtype)
        shape = (rows, -1) if width == -1 else (-1, width)
        values[name] = flat.reshape(shape) if flat is not None and width else flat
    return values


MANIFEST = "manifest.json"


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

    @property
    def release(self) -> str:
        """Name and release of the data set, such as nuscenes v1.0-mini."""
        return f"{self.dataset} {self.dataset_version}".strip()

    @property
    def synthetic(self) -> bool:
        """Whether a generator made the data set: releases of such end with that word."""
        return self.dataset_version.endswith("synthetic")

    def again(self, options: Mapping[str, object]) -> str:
        """The command that makes the same samples with other options, into another folder."""
        changed = [f"--{name} {value}" for name, value in options.items()]
        words = shlex.split(self.command)
        if words[:2] != ["python", "-m"]:
            return f"{self.command or 'the command that made them'}, with {' '.join(changed)}"
        kept, folder, taken = [], "data/shards", True
        for before, word in itertools.pairwise(["", *words]):
            name, _, value = word.removeprefix("--").partition("=")
            if word.startswith("--"):
                taken = name.replace("-", "_") not in {*options, "out"}
            if before == "--out" or (name == "out" and value):
                folder = word if before == "--out" else value
            if taken:
                kept.append(word)
        suffix = "-".join(f"{name}_{value}".replace(" ", "x") for name, value in options.items())
        out = shlex.quote(f"{folder}-{suffix}")
        return " ".join([shlex.join(kept), *changed, f"--out {out}"])

    def to_json(self) -> str:
        """The same text for the same content, ready to be written."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, path: str, kind: Kind[Any]) -> Manifest:
        """Inverse of `to_json`; ShardError for another kind or schema version, or text that is not a manifest."""
        try:
            values = json.loads(text)
            version = values["schema_version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ShardError(f"{path} is not a manifest; make the shards again") from None
        again = f"make the shards again, into another folder: {values.get('command', 'as you made these')}"
        if (written := values.get("kind", kind.name)) != kind.name:
            raise ShardError(
                f"{path} describes shards of {written}s, not of {kind.name}s; make such with: {kind.make_command}"
            )
        if version != (reads := kind.schema_version):
            raise ShardError(f"{path} has schema version {version}, this code reads {reads}; {again}")
        try:
            lists = {
                "shards": tuple(ShardFile(**shard) for shard in values["shards"]),
                "bad": tuple(BadSample(**sample) for sample in values["bad"]),
            }
            manifest = cls(**values | lists)
            manifest._check()
            kind.check_about(manifest.about)
        except Exception as error:  # each kind reads what it described in its own way
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ShardError(f"{path} is damaged ({reason}); make the shards again") from None
        return manifest

    def _check(self) -> None:
        """ShardError for a list of shards that `write_shards` cannot have written."""
        names = [shard.name for shard in self.shards]
        for shard in self.shards:
            if not all(isinstance(number, int) and number >= 0 for number in (shard.samples, shard.bytes)):
                raise ShardError(f"{shard.name} has {shard.samples} samples and {shard.bytes} bytes")
            if PurePath(shard.name).name != shard.name or not isinstance(shard.sha256, str):
                raise ShardError(f"{shard.name} is not a file of the folder")
            if names.count(shard.name) > 1:
                raise ShardError(f"it lists {shard.name} {names.count(shard.name)} times")
        if self.samples != (total := sum(shard.samples for shard in self.shards)):
            raise ShardError(f"it says {self.samples} samples, and its shards have {total}")
        texts = (self.dataset, self.dataset_version, self.split, self.command)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.bytes, int):
            raise ShardError("its data set, split, command or bytes are something else")
