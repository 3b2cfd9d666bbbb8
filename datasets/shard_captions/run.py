"""Images with sentences -> a folder of shards: `python -m datasets.shard_captions flickr30k --root ROOT ...`."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib import import_module
from typing import cast

from datasets.captions.regions import AuthorsHdf5, BottomUpFolder, RegionFiles, read_classes
from datasets.captions.wordnet import absolute
from datasets.common.following import after_captions
from datasets.common.sharding import report, write
from datasets.shard_captions.config import SOURCES, CaptionShardConfig
from scenelift.samples.caption import CAPTIONED_IMAGE, CaptionSet
from scenelift.samples.kind import Manifest, SampleSource


def open_source(config: CaptionShardConfig) -> SampleSource:
    """The data set with its regions; DataError for what is not there."""
    assert config.root and config.regions and config.classes, "check_here"
    classes = read_classes(config.classes.expanduser())
    regions = config.regions.expanduser().absolute()
    files: RegionFiles = (
        BottomUpFolder(regions, classes)
        if regions.is_dir()
        else AuthorsHdf5(regions, classes, config.feature_width, config.box_unit)
    )
    adapter = getattr(import_module(f"datasets.{config.dataset}.source"), SOURCES[config.dataset])
    return cast(SampleSource, adapter(config.root.expanduser().absolute(), files))


def run(config: CaptionShardConfig) -> Manifest:
    """Write the shards and print their contents."""
    source, start = open_source(config), time.monotonic()
    options = replace(config.options, wordnet=absolute(config.options.wordnet))
    manifest = write(config, source, options, CAPTIONED_IMAGE, "datasets.shard_captions")
    about = CaptionSet.of(manifest)
    rows = {
        "images": f"{manifest.samples:,}",
        "bad images": f"{len(manifest.bad):,}",
        "regions": f"{about.regions:,} of {about.statistics.width} channels",
        "phrases": f"{about.phrases:,} in {about.sentences:,} sentences, {about.boxed:,} with a box",
        "coverage": about.coverage,
        "time": f"{time.monotonic() - start:.1f} s",
    }
    print(report(manifest, rows))
    print(after_captions(manifest, about, config.folder))
    return manifest
