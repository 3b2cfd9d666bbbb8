"""A simulated detector: noisy boxes, class logits, and features that encode color, without labels for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets.grounding.classes import CLASSES, ClassMap
from datasets.synthetic_rooms.config import DetectorConfig
from datasets.synthetic_rooms.room import COLORS, HALF, HANGING, STANDING, Rng, Thing
from scenelift.geometry.boxes3d import iou

_NAMES = (*STANDING, *HANGING)
_CONTENTS = len(_NAMES) + len(COLORS) + 3


def projection(channels: int) -> NDArray[np.float64]:
    """[contents, channels] the fixed map from kind, color and size to features: never trained."""
    return np.random.default_rng(1234).normal(0, 1, (_CONTENTS, channels))


def contents(thing: Thing) -> NDArray[np.float64]:
    """Kind and color one-hot, and the log of the size."""
    kind = np.arange(len(_NAMES)) == _NAMES.index(thing.name)
    color = np.arange(len(COLORS)) == list(COLORS).index(thing.color)
    return np.concatenate([kind, color, np.log(thing.box[3:])])


def detect(
    things: list[Thing], config: DetectorConfig, classes: ClassMap, rng: Rng
) -> dict[str, NDArray[np.generic]]:
    """Arrays of `datasets.grounding.proposals`: boxes, features, class_logits, objectness; in random order."""
    seen = [thing for thing in things if rng.random() >= config.missed]
    seen += [thing for thing in seen if rng.random() < config.doubles]
    boxes = [_jitter(thing.box, config.least_iou, rng) for thing in seen] + _background(
        config.background, rng
    )
    inside = np.array([contents(thing) for thing in seen]).reshape(len(seen), _CONTENTS)
    nothing = rng.normal(0, 0.3, (config.background, _CONTENTS))
    signal = np.concatenate([inside, nothing]) @ projection(config.features) / np.sqrt(2)
    logits = rng.normal(0, config.class_noise, (len(boxes), len(CLASSES)))
    numbers = [classes.category(thing.name) for thing in seen]
    logits[np.arange(len(seen)), numbers] += 4
    objectness = np.concatenate([np.ones(len(seen)), rng.random(config.background) < 1 / 8]) > 0
    order = rng.permutation(len(boxes))
    return {
        "boxes": np.array(boxes, np.float32)[order],
        "features": (signal + rng.normal(0, config.noise, signal.shape)).astype(np.float32)[order],
        "class_logits": logits.astype(np.float32)[order],
        "objectness": objectness[order],
    }


def _jitter(box: NDArray[np.float64], least: float, rng: Rng) -> NDArray[np.float64]:
    """The box, randomly moved and stretched, less and less until it overlaps enough."""
    for strength in 0.15 * 0.8 ** np.arange(40):
        moved = box.copy()
        moved[:3] += rng.normal(0, strength, 3) * box[3:]
        moved[3:] *= np.exp(rng.normal(0, strength, 3))
        if iou(moved, box) >= least:
            return moved
    return box


def _background(count: int, rng: Rng) -> list[NDArray[np.float64]]:
    size = rng.uniform(0.2, 1.2, (count, 3))
    centre = np.concatenate([rng.uniform(-HALF, HALF, (count, 2)), size[:, 2:] / 2], 1)
    return list(np.concatenate([centre, size], 1))
