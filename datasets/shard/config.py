"""Settings and presets of `datasets.shard`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from datasets.common.config import SourceConfig, presets
from scenelift.config.constraints import NonNegativeInt, PositiveInt
from scenelift.samples.config import ReadOptions


@dataclass(frozen=True)
class ShardConfig(SourceConfig):
    """Reads a data set frame by frame, projects its points into its images, and writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    out: str | None = None
    """Folder or URI to write to; none: data/shards/DATASET/VERSION/SPLIT."""
    superpixels: NonNegativeInt = ReadOptions.superpixels
    """Approximate number of superpixels (SLIC) of each stored image; 0: none. SLidR needs them: 150."""
    per_shard: PositiveInt = 32
    """Frames of one file; one of nuScenes with six images takes about 0.8 MB."""
    max_bad: NonNegativeInt = 0
    """Frames that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return self.out or f"data/shards/{self.label}/{self.version}/{self.split or 'all'}"


PRESETS = presets(ShardConfig())
PRESETS["scannet"] = replace(PRESETS["scannet"], per_shard=8)
