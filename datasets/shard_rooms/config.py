"""Settings and presets of `datasets.shard_rooms`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from datasets.grounding.config import Candidates, Corpus, RoomOptions
from scenelift.config.constraints import Exists, FolderName, NonNegativeInt, PositiveInt, Settings
from scenelift.errors import ConfigError


@dataclass(frozen=True)
class RoomShardConfig(Settings):
    """Reads ScanNet's rooms with a corpus of sentences and proposed boxes, and writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    corpus: Corpus = "scanrefer"
    """Which sentences: scanrefer, nr3d, sr3d; the preset's name."""
    root: Annotated[Path, Exists()] | None = None
    """ScanNet's folder, with scans, the sentences, the scene lists and the label table."""
    sentences: Annotated[Path, Exists()] | None = None
    """File of the sentences; none: ROOT/ScanRefer_filtered_SPLIT.json, ROOT/nr3d.csv or ROOT/sr3d.csv."""
    split: Annotated[str, FolderName()] | None = None
    """Split to take, such as train or val; ReferIt3D's lists call the latter test."""
    candidates: Candidates = "detector"
    """Proposals: a detector's output in ROOT/proposals, as WS-3DVG scores all three corpora; or the true instances,
    ReferIt3D's protocol for Nr3D and Sr3D. Scores of the two cannot be compared."""
    student: Annotated[Path, Exists()] | None = None
    """Folder of a 3D student (trainables.distill) whose features proposals get; none: the detector's own, or the
    cloud's colors and the box's size where it has none."""
    listener: bool = False
    """Leave out what ReferIt3D's listeners leave out: clothes, long sentences, those that do not name the class. Of
    Nr3D and Sr3D alone."""
    group: PositiveInt = 8
    """Sentences of a sample at most: what is trained on together."""
    points: NonNegativeInt = RoomOptions.points
    """Points kept of each room, for pictures."""
    out: str | None = None
    """Folder or URI to write to; none: data/shards/CORPUS/CANDIDATES/SPLIT."""
    per_shard: PositiveInt = 32
    """Samples of one file."""
    max_bad: NonNegativeInt = 0
    """Samples that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    def check_here(self, prefix: str = "") -> None:
        if self.root is None:
            raise ConfigError("--root is missing: ScanNet's folder, which holds scans")
        super().check_here(prefix)

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return self.out or f"data/shards/{self.corpus}/{self.candidates}/{self.split or 'all'}"

    @property
    def options(self) -> RoomOptions:
        """What the source reads with."""
        return RoomOptions(self.points)


PRESETS = {
    "scanrefer": RoomShardConfig(),
    "nr3d": RoomShardConfig(corpus="nr3d"),
    "sr3d": RoomShardConfig(corpus="sr3d"),
}
"""All three among detected boxes, as the tables of WS-3DVG's paper are."""
