"""Images with sentences -> a folder of shards: `python -m datasets.shard_captions flickr30k --root ROOT ...`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.captions.config import BoxUnit, CaptionOptions
from datasets.captions.regions import AuthorsHdf5, BottomUpFolder, RegionFiles, read_classes
from datasets.captions.wordnet import absolute
from datasets.flickr30k.source import Flickr30k
from datasets.referit.source import ReferIt
from scenelift.config.build import command, nearest
from scenelift.errors import ConfigError
from scenelift.io.storage import megabytes
from scenelift.samples.caption_kind import CAPTIONED_IMAGE, CaptionSet
from scenelift.samples.manifest import Manifest

SOURCES: dict[str, Callable[[Path, RegionFiles], Flickr30k | ReferIt]] = {
    "flickr30k": Flickr30k,
    "referit": ReferIt,
}
"""Data set -> what opens its root, with the regions of its images."""


@dataclass(frozen=True)
class CaptionShardConfig:
    """Reads images as regions, their sentences as phrases, finds the phrases' detector classes, writes shards.

    Interrupted and started again it goes on where it stopped.
    """

    dataset: str = "flickr30k"
    """Which data set: flickr30k, referit; the preset's name."""
    root: Path | None = None
    """Folder of the data set, as it is unpacked."""
    regions: Path | None = None
    """Regions of the images: a folder of IMAGE.npz as bottom-up-attention writes them, or one HDF5 file as CKD's
    authors wrote it."""
    classes: Path | None = None
    """The detector's class names, one a line, in the order of its outputs, without background."""
    feature_width: int = 2048
    """Channels of a region's feature in an HDF5 file; .npz files tell it themselves."""
    box_unit: BoxUnit = "pixels"
    """What the boxes of an HDF5 file are in: pixels, or shares of the image's width and height."""
    split: str | None = None
    """Split to take: train, val or test; none: every image that is there."""
    out: str | None = None
    """Folder or URI to write to; none: data/shards/DATASET/SPLIT."""
    options: CaptionOptions = CaptionOptions()
    """What of an image is kept."""
    per_shard: int = 64
    """Images of one file; one with 100 regions of 2048 channels takes about 0.5 MB."""
    max_bad: int = 0
    """Images that may be unreadable; more of them, and the job fails and lists them in bad.json."""

    def __post_init__(self) -> None:
        if self.dataset not in SOURCES:
            raise ConfigError(f"unknown data set {self.dataset}; {nearest(self.dataset, SOURCES)}")
        for name, least in {"per_shard": 1, "max_bad": 0, "feature_width": 1}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is at least {least}, not {getattr(self, name)}")

    @property
    def folder(self) -> str:
        """Where the shards go."""
        return self.out or f"data/shards/{self.dataset}/{self.split or 'all'}"


PRESETS = {name: CaptionShardConfig(dataset=name) for name in SOURCES}


def open_source(config: CaptionShardConfig) -> Flickr30k | ReferIt:
    """The data set with its regions; ConfigError for what is not given, DataError for what is not there."""
    if config.root is None or config.regions is None or config.classes is None:
        missing = next(name for name in ("root", "regions", "classes") if getattr(config, name) is None)
        raise ConfigError(f"--{missing} is missing; see python -m datasets.shard_captions --help")
    classes = read_classes(config.classes.expanduser())
    regions = config.regions.expanduser().absolute()
    files: RegionFiles = (
        BottomUpFolder(regions, classes)
        if regions.is_dir()
        else AuthorsHdf5(regions, classes, config.feature_width, config.box_unit)
    )
    return SOURCES[config.dataset](config.root.expanduser().absolute(), files)


def run(config: CaptionShardConfig) -> Manifest:
    """Write the shards and print what they hold."""
    from scenelift.cluster.connect import connect
    from scenelift.shards.write import write_shards

    source, start = open_source(config), time.monotonic()
    options = replace(config.options, wordnet=absolute(config.options.wordnet))
    with connect():
        manifest = write_shards(
            source,
            config.split,
            config.folder,
            options,
            per_shard=config.per_shard,
            max_bad=config.max_bad,
            command=shlex.join(["python", "-m", "datasets.shard_captions", *sys.argv[1:]]),
            kind=CAPTIONED_IMAGE,
        )
    print(report(manifest, time.monotonic() - start))
    print(f"next: python -m trainables.phrases {config.dataset} --data.train {shlex.quote(config.folder)}")
    return manifest


def report(manifest: Manifest, seconds: float) -> str:
    """A short table of what a folder of shards holds."""
    about = CaptionSet.of(manifest)
    rows = {
        "data set": f"{manifest.dataset} {manifest.split}",
        "images": f"{manifest.samples:,}",
        "bad images": f"{len(manifest.bad):,}",
        "regions": f"{about.regions:,} of {about.statistics.width} channels",
        "phrases": f"{about.phrases:,} in {about.sentences:,} sentences, {about.boxed:,} with a box",
        "coverage": about.coverage,
        "size": f"{megabytes(manifest.bytes)} in {len(manifest.shards)} shards",
        "time": f"{seconds:.1f} s",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in rows.items())


def main() -> None:
    """The command."""
    command(run, CaptionShardConfig, PRESETS, "python -m datasets.shard_captions")


if __name__ == "__main__":
    from datasets.shard_captions import main

    main()
