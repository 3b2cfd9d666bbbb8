"""What a data set must offer to become shards: the interface of every adapter in `datasets/`."""

from __future__ import annotations

from typing import Any, Protocol

from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.samples.vocabulary import Vocabulary


class SampleKey(Protocol):
    """What reading one sample needs: small, picklable, and named."""

    @property
    def token(self) -> str:
        """Unique name of the sample in its data set."""


class SampleSource(Protocol):
    """A data set as the shard job sees it: a list of keys, each readable by itself in any process.

    Small to pickle: every reader process gets a copy. A key stands for one sample: a scan, a room or an image.
    """

    name: str
    """Name of the data set, such as nuscenes."""
    version: str
    """Its release, such as v1.0-mini."""

    def list_samples(self, split: str | None) -> list[Any]:
        """The `SampleKey`s of the split (None: all), in a fixed order.

        Raises DataError for an unknown split (listing the known ones) or one without samples.
        """

    def read(self, keyframe: Any, options: Any) -> Any:
        """Read one sample; FrameError says what is wrong with its files."""


class Source(SampleSource, Protocol):
    """A data set of frames."""

    vocabulary: Vocabulary

    def read(self, keyframe: Any, options: ReadOptions) -> Frame:
        """Read and project one keyframe; FrameError says what is wrong with its files."""
