"""The synthetic images as shards, made on first use: the default data of phrase grounding."""

from __future__ import annotations

import shlex
from pathlib import Path

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import BottomUpFolder, read_classes
from datasets.flickr30k.source import Flickr30k
from datasets.synthetic_images.config import ImageWorldConfig
from datasets.synthetic_images.generate import CLASS_LIST, REGIONS, generate
from scenelift.cluster import connect as cluster
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.kind import MANIFEST
from scenelift.shards.read import open_samples
from scenelift.shards.write import write_shards

OPTIONS = CaptionOptions(photos=True)
DEMO = ImageWorldConfig()


def synthetic_image_shards(split: str, world: ImageWorldConfig = DEMO) -> str:
    """Folder of the shards of a split, train or test, next to the images; whatever is missing is made.

    Raises ConfigError if the folder has other images.
    """
    generate(world)
    out = world.out / "shards" / split
    if (out / MANIFEST).exists():
        return open_samples(str(out), CAPTIONED_IMAGE).path
    code = f'from datasets.synthetic_images.shards import synthetic_image_shards as make; make("{split}")'
    with cluster.connect():
        write_shards(
            source_of(world.out),
            split,
            str(out),
            OPTIONS,
            per_shard=64,
            command=shlex.join(["python", "-c", code]),
            kind=CAPTIONED_IMAGE,
        )
    return str(out)


def source_of(root: Path) -> Flickr30k:
    """The reader of Flickr30K Entities on a folder of synthetic images."""
    return Flickr30k(root, BottomUpFolder(root / REGIONS, read_classes(root / CLASS_LIST)))
