"""What a kind of sample must define to be written as shards, read, and trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa


class Sample(Protocol):
    """One row of a shard."""

    @property
    def token(self) -> str:
        """Unique name in its data set."""

    @property
    def scene(self) -> str:
        """Group it belongs to: samples of one scene are held out together."""


S = TypeVar("S", bound=Sample)


class Kind(ABC, Generic[S]):
    """A kind of sample: its row, and the description of a folder of them. Small to pickle; stateless."""

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
        """The sample of one of the source's keys; FrameError says what is wrong with it."""
        sample: S = source.read(keyframe, options)
        return sample

    def decides(self, source: Any) -> Any:
        """What else in the source determines the rows, besides its name, version and tokens, as JSON."""
        return None

    @abstractmethod
    def to_row(self, sample: S) -> dict[str, Any]:
        """The sample as one row: arrays as raw little-endian bytes, with their counts."""

    @abstractmethod
    def from_row(self, row: dict[str, Any]) -> S:
        """Inverse of `to_row`; binary values may be buffers, and arrays are read-only views of them."""

    @abstractmethod
    def summarize(self, samples: Sequence[S], source: Any) -> dict[str, Any]:
        """What `describe` needs from one shard, as JSON."""

    @abstractmethod
    def describe(self, summaries: Sequence[dict[str, Any]], source: Any, options: Any) -> dict[str, Any]:
        """The manifest's `about` for all shards of a source, read with these options, as JSON."""
