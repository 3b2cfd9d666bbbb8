"""From a configuration to a folder in Flickr30K Entities' layout: complete, or marked as unfinished."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from datasets.captions.regions import Regions
from datasets.synthetic_images.config import CLASSES, ImageWorldConfig
from datasets.synthetic_images.detector import detect
from datasets.synthetic_images.grammar import describe
from datasets.synthetic_images.world import SIZE, Picture, draw_picture, photograph
from scenelift.config.build import to_dict
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, StorageError
from scenelift.geometry.boxes2d import Boxes

DONE = "world.yaml"
"""The configuration of the folder's images; written last."""
REGIONS, PHOTOS, CLASS_LIST = "regions", "flickr30k-images", "classes.txt"
_FOLDERS = ("Sentences", "Annotations", PHOTOS, REGIONS)


def generate(config: ImageWorldConfig) -> bool:
    """Write the images of `config` to `config.out`; False if they are already complete.

    Raises ConfigError if the folder holds anything else, StorageError if it cannot be written.
    """
    if _complete(config):
        return False
    unfinished = config.out.with_name(f".{config.out.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for folder in _FOLDERS:
            (unfinished / folder).mkdir(parents=True)
        for split, numbers in config.splits().items():
            for number in numbers:
                write_image(config, number, unfinished)
            (unfinished / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers))
        (unfinished / CLASS_LIST).write_text("".join(f"{name}\n" for name in CLASSES))
        (unfinished / DONE).write_text(dump(config))
        os.replace(unfinished, config.out)
    except OSError as error:
        raise StorageError(
            f"cannot write {config.out}: {error}; fix that and run the command again"
        ) from error
    return True


def _complete(config: ImageWorldConfig) -> bool:
    if not config.out.exists() or (config.out.is_dir() and not any(config.out.iterdir())):
        return False
    try:
        existing = to_dict(load(ImageWorldConfig, config.out / DONE))
    except (ConfigError, OSError):
        raise ConfigError(
            f"{config.out} holds something else than synthetic images; choose another --out"
        ) from None
    if existing | {"out": ""} != to_dict(config) | {"out": ""}:
        raise ConfigError(f"{config.out} holds other synthetic images; choose another --out or delete it")
    return True


def write_image(config: ImageWorldConfig, number: int, root: Path) -> None:
    """Write one image's photo, sentences, annotation and regions below `root`."""
    rng = np.random.default_rng([config.seed, number])
    picture = draw_picture(rng)
    sentences = describe(picture, rng)
    (root / "Sentences" / f"{number}.txt").write_text("".join(f"{line}\n" for line in sentences))
    (root / "Annotations" / f"{number}.xml").write_text(annotation(number, picture))
    photograph(picture, rng).save(root / PHOTOS / f"{number}.jpg", quality=92)
    save_regions(root / REGIONS / f"{number}.jpg.npz", detect(picture, config, rng))


def annotation(number: int, picture: Picture) -> str:
    """The XML file of an image; corners are written 1-based."""
    height, width = SIZE
    objects = [
        f"<object><name>{i}</name>{_corners(thing.box)}</object>" for i, thing in enumerate(picture.things, 1)
    ]
    scene = len(objects) + 1
    objects.append(f"<object><name>{scene}</name><scene>1</scene><nobndbox>1</nobndbox></object>")
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    lines = [f"<filename>{number}.jpg</filename>", size, *objects]
    return "\n\t".join(["<annotation>", *lines]) + "\n</annotation>\n"


def _corners(box: Boxes) -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box.tolist(), strict=True)
    return f"<bndbox>{''.join(f'<{side}>{int(at) + 1}</{side}>' for side, at in sides)}</bndbox>"


def save_regions(path: Path, regions: Regions) -> None:
    """Write a file in bottom-up-attention's format, features as columns."""
    height, width = SIZE
    np.savez(
        path,
        x=regions.features.T,
        bbox=regions.boxes,
        cls_prob=regions.posteriors,
        image_h=np.int64(height),
        image_w=np.int64(width),
        num_bbox=np.int64(len(regions.boxes)),
    )
