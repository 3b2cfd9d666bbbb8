"""Images with captioned regions, the tiny teacher's training data: words, files, batches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datasets.common.files import read_bytes, read_json
from datasets.nuscenes.classes import FULL
from scenelift.errors import DataError
from scenelift.samples.vocabulary import Vocabulary, prompt_templates

Rng = np.random.Generator

NAMES: Vocabulary = FULL
"""The words that captions are made of: those that students are prompted with."""

ABSENT = (
    "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "desk", "curtain",
    "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "cabinet", "counter", "bicyclist",
    "motorcyclist", "train",
)  # fmt: skip
"""Words of other data sets for things that the synthetic streets lack; captions that fit no region."""

NEUTRAL = (
    "floor", "other furniture", "other vehicle", "rider", "parking", "other ground", "fence", "trunk",
    "traffic sign", "traffic light", "sky",
)  # fmt: skip
"""Words of other data sets that may occur in prompts, though no caption ever names them."""

MOST_NAMES = 3
"""Classes named in a caption; more would not fit the context."""


@dataclass(frozen=True)
class RegionImage:
    """One image and its R regions."""

    scene: str
    pixels: NDArray[np.uint8]  # [H, W, 3] RGB
    boxes: NDArray[np.float32]  # [R, 4] row0, col0, row1, col1, pixels; ends are exclusive
    names: tuple[tuple[str, ...], ...]  # [R] names of the classes in each region, by descending area


@dataclass(frozen=True)
class RegionBatch:
    """B images with K regions each."""

    images: Tensor  # uint8 [B, 3, H, W]
    boxes: Tensor  # float32 [B, K, 4], as in `RegionImage`
    names: list[tuple[str, ...]]  # [B K] classes of each region


def read_regions(root: Path, version: str, size: tuple[int, int]) -> list[RegionImage]:
    """Every captioned image of a world, ordered by scene; DataError without captions or for another (height,
    width) than `size`."""
    path = root / version / "regions.json"
    if not path.is_file():
        raise DataError(
            f"no region captions at {path}; the tiny teacher learns from a synthetic world that has them. Write "
            "one, and give it as --root: python -m datasets.synthetic teacher"
        )
    regions, scenes = read_json(path), _scenes(root / version)
    images = [
        _region_image(root, file, scenes[file], regions[file])
        for file in tqdm(sorted(regions, key=lambda file: (scenes[file], file)), "images", leave=False)
        if regions[file]
    ]
    if not images or any(image.pixels.shape[:2] != size for image in images):
        raise DataError(f"{path} must list images of {size[0]} x {size[1]} pixels with regions")
    return images


def _region_image(root: Path, file: str, scene: str, regions: list[list[Any]]) -> RegionImage:
    with Image.open(io.BytesIO(read_bytes(root, file))) as image:
        pixels = np.asarray(image.convert("RGB"))
    boxes = np.array([region[:4] for region in regions], np.float32)
    return RegionImage(scene, pixels, boxes, tuple(tuple(region[4]) for region in regions))


def _scenes(tables: Path) -> dict[str, str]:
    """Image file -> name of its scene, from the nuScenes tables."""

    def table(name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_json(tables / f"{name}.json")
        return rows

    scene = {row["token"]: row["name"] for row in table("scene")}
    sample = {row["token"]: scene[row["scene_token"]] for row in table("sample")}
    return {row["filename"]: sample[row["sample_token"]] for row in table("sample_data")}


def split_by_scene(
    images: Sequence[RegionImage], held_out: float
) -> tuple[list[RegionImage], list[RegionImage]]:
    """Images for training, and those of the last `held_out` fraction of scenes for testing; DataError without
    either."""
    scenes = sorted({image.scene for image in images})
    last = set(scenes[len(scenes) - round(len(scenes) * held_out) :])
    train = [image for image in images if image.scene not in last]
    test = [image for image in images if image.scene in last]
    if not train or not test:
        raise DataError(f"{len(scenes)} scenes cannot be split for held_out {held_out}; write more scenes")
    return train, test


def draw_batch(images: Sequence[RegionImage], count: int, regions: int, rng: Rng) -> RegionBatch:
    """`count` different images, augmented, with `regions` different regions each (repeated if there are fewer)."""
    chosen = rng.choice(len(images), count, replace=count > len(images))
    return collate([augment(_some(images[int(index)], regions, rng), rng) for index in chosen])


def _some(image: RegionImage, regions: int, rng: Rng) -> RegionImage:
    """All regions are equally likely: the world already balances its squares over the classes of stuff."""
    rows = np.resize(rng.permutation(len(image.boxes)), regions).tolist()
    return RegionImage(image.scene, image.pixels, image.boxes[rows], tuple(image.names[row] for row in rows))


def augment(image: RegionImage, rng: Rng) -> RegionImage:
    """Mirror half of the images with their boxes; change brightness and contrast by up to 20 %."""
    pixels, boxes = image.pixels, image.boxes
    if rng.random() < 0.5:
        width = pixels.shape[1]
        pixels = pixels[:, ::-1]
        boxes = np.stack([boxes[:, 0], width - boxes[:, 3], boxes[:, 2], width - boxes[:, 1]], axis=1)
    contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-25, 25)
    mean = pixels.mean()
    pixels = ((pixels - mean) * contrast + mean + brightness).clip(0, 255).astype(np.uint8)
    return RegionImage(image.scene, pixels, boxes, image.names)


def collate(images: Sequence[RegionImage]) -> RegionBatch:
    """Stack images with equal numbers of regions."""
    pixels = np.stack([image.pixels for image in images]).transpose(0, 3, 1, 2)
    return RegionBatch(
        images=torch.from_numpy(np.ascontiguousarray(pixels)),
        boxes=torch.from_numpy(np.stack([image.boxes for image in images])),
        names=[names for image in images for names in image.names],
    )


def patch_shares(boxes: Tensor, grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """Fraction of each box in every patch: [..., 4] pixels -> [..., h w], summing to 1 for each box."""
    rows = _overlap(boxes[..., 0], boxes[..., 2], grid[0], patch[0])
    cols = _overlap(boxes[..., 1], boxes[..., 3], grid[1], patch[1])
    area = (rows.unsqueeze(-1) * cols.unsqueeze(-2)).flatten(-2)
    return area / area.sum(-1, keepdim=True)


def _overlap(first: Tensor, last: Tensor, cells: int, patch: int) -> Tensor:
    start = torch.arange(cells) * patch
    inside = torch.minimum(last.unsqueeze(-1), start + patch) - torch.maximum(first.unsqueeze(-1), start)
    return inside.clamp(min=0)


def sentences() -> list[str]:
    """Every prompt that the tokenizer must know."""
    words = [word for group in NAMES.words for word in group]
    words += [*NAMES.classes, *ABSENT, *NEUTRAL, "and"]
    return [template.format(word) for template in (*prompt_templates()["tiny"], "{}") for word in words]


def caption(names: Sequence[tuple[str, ...]], rng: np.random.Generator) -> tuple[list[str], list[int]]:
    """Distinct captions [U], those that fit a region first, and the caption of each region [R].

    A batch uses one word per class and one template: otherwise equal regions would have different captions, and no
    assignment would be correct. Captions of absent classes and things follow.
    """
    words = {name: str(rng.choice(group)) for name, group in zip(NAMES.classes, NAMES.words, strict=True)}
    template = str(rng.choice(prompt_templates()["tiny"]))
    phrases = [" and ".join(words[name] for name in region[:MOST_NAMES]) for region in names]
    distinct = list(dict.fromkeys(phrases))
    target = [distinct.index(phrase) for phrase in phrases]
    others = [*words.values(), *rng.choice(ABSENT, 4, replace=False).tolist()]
    return [template.format(phrase) for phrase in dict.fromkeys([*distinct, *others])], target
