"""What a data set must offer to become shards: the interface that every adapter in `datasets/` has."""

from __future__ import annotations

from typing import Any, Protocol

from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary


class SampleKey(Protocol):
    """What reading one keyframe needs: small, picklable, and named."""

    @property
    def token(self) -> str:
        """Unique name of the keyframe in its data set."""


class SampleSource(Protocol):
    """A data set as the shard job sees it: a list of keyframes, each readable by itself in any process.

    Small to pickle: every process that reads gets a copy. A keyframe is what becomes one sample: of other kinds
    than frames it may be a room, or an image.
    """

    name: str
    """Name of the data set, such as nuscenes."""
    version: str
    """Its release, such as v1.0-mini."""

    def list_samples(self, split: str | None) -> list[Any]:
        """The `SampleKey`s of the split (None: all), in a fixed order.

        Raises DataError for an unknown split (naming the known ones) or one without keyframes.
        """

    def read(self, keyframe: Any, options: Any) -> Any:
        """Read one sample; FrameError says what is wrong with its files."""


class Source(SampleSource, Protocol):
    """A data set of frames."""

    vocabulary: Vocabulary

    def read(self, keyframe: Any, options: ReadOptions) -> Frame:
        """Read and project one keyframe; FrameError says what is wrong with its files."""
