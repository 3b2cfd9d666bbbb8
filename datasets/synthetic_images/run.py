"""The command `python -m datasets.synthetic_images [--out DIR] [--train N] ...`: write synthetic images."""

from __future__ import annotations

import shlex
import time

from datasets.synthetic_images.config import ImageWorldConfig
from datasets.synthetic_images.generate import CLASS_LIST, REGIONS, generate


def run(config: ImageWorldConfig) -> None:
    """Write the images and print their numbers."""
    start = time.monotonic()
    if generate(config):
        counts = ", ".join(f"{len(numbers)} {split}" for split, numbers in config.splits().items())
        print(f"{config.out}: {counts} images in {time.monotonic() - start:.0f} s.")
    else:
        print(f"{config.out} already has these images, complete.")
    split, root = next(iter(config.splits())), config.out
    places = {"root": root, "regions": root / REGIONS, "classes": root / CLASS_LIST}
    options = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    options += ["--split", split, "--out", f"{root}-shards/{split}"]
    print(f"next: {shlex.join(['python', '-m', 'datasets.shard_captions', 'flickr30k', *options])}")
