"""Settings and presets of `datasets.shard_captions`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from datasets.captions.config import BoxUnit, CaptionOptions
from scenelift.config.build import nearest
from scenelift.config.constraints import Exists, FolderName, NonNegativeInt, PositiveInt, Settings
from scenelift.errors import ConfigError

_NEEDED = {
    "root": "the folder where the data set is unpacked",
    "regions": "a folder of the images' regions as bottom-up-attention writes them, or one HDF5 file",
    "classes": "the detector's class names, one a line, in the order of its outputs, without background; those of "
    "bottom-up-attention are its data/genome/1600-400-20/objects_vocab.txt",
}
"""Option without which nothing can be made -> what it is."""
SOURCES = {"flickr30k": "Flickr30k", "referit": "ReferIt"}
"""Data set -> the class of `datasets/NAME/source.py` that opens its root, with the regions of its images."""


@dataclass(frozen=True)
class CaptionShardConfig(Settings):
    """Reads images as regions, their sentences as phrases, finds the phrases' detector classes, writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    dataset: str = "flickr30k"
    """Which data set: flickr30k, referit; the preset's name."""
    root: Annotated[Path, Exists()] | None = None
    """Folder of the data set, as it is unpacked."""
    regions: Annotated[Path, Exists()] | None = None
    """Regions of the images: a folder of IMAGE.npz as bottom-up-attention writes them, or one HDF5 file as CKD's
    authors wrote it."""
    classes: Annotated[Path, Exists()] | None = None
    """The detector's class names, one a line, in the order of its outputs, without background."""
    feature_width: PositiveInt = 2048
    """Channels of a region's feature in an HDF5 file; .npz files tell it themselves."""
    box_unit: BoxUnit = "pixels"
    """What the boxes of an HDF5 file are in: pixels, or shares of the image's width and height."""
    split: Annotated[str, FolderName()] | None = None
    """Split to take: train, val or test; none: every image that is there."""
    out: str | None = None
    """Folder or URI to write to; none: data/shards/DATASET/SPLIT."""
    options: CaptionOptions = CaptionOptions()
    """What of an image is kept."""
    per_shard: PositiveInt = 64
    """Images of one file; one with 100 regions of 2048 channels takes about 0.5 MB."""
    max_bad: NonNegativeInt = 0
    """Images that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in SOURCES:
            raise ConfigError(f"unknown data set {self.dataset}; {nearest(self.dataset, SOURCES)}")

    def check_here(self, prefix: str = "") -> None:
        for name, meaning in _NEEDED.items():
            if getattr(self, name) is None:
                raise ConfigError(f"--{name} is missing: {meaning}")
        super().check_here(prefix)

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return self.out or f"data/shards/{self.dataset}/{self.split or 'all'}"


PRESETS = {name: CaptionShardConfig(dataset=name) for name in SOURCES}
