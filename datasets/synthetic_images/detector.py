"""Simulated detections: noisy proposals of things and of their parts, features, and class posteriors.

Posteriors depend on how well a region covers an entire thing, and not on colors; features depend on the shapes and
colors that fill a region, and on its extent only through the mixture of head, body and background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datasets.captions.regions import Regions
from datasets.synthetic_images.config import BODIES, CLASSES, COLORS, KINDS, SCENES, ImageWorldConfig
from datasets.synthetic_images.world import SIZE, Picture, Rng
from scenelift.geometry.boxes2d import Boxes, area, clip, iou

_LOOKS = (*BODIES, *(kind.head for kind in KINDS), *COLORS, *SCENES)
"""Contents of a region: bodies of each type and color, heads, backgrounds."""
_WHOLES, _PARTS, _LOOSE, _RANDOM = 2, 2, 1, 4
"""Proposals per thing, per part, of a thing with surroundings, and of random areas per image."""
_SURE, _DOUBT = 7.0, 2.2
"""Logit of a class whose thing a region covers exactly, and of the background."""
_MISTAKEN = 2.0
"""Logit of another class for a thing that the detector does not know."""


def detect(picture: Picture, config: ImageWorldConfig, rng: Rng) -> Regions:
    """All regions of an image, in a random order."""
    boxes = _proposals(picture, rng)
    logits = _logits(picture, boxes, config, rng)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    posteriors = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return Regions(boxes, _features(picture, boxes, config, rng), posteriors)


def _proposals(picture: Picture, rng: Rng) -> Boxes:
    proposals = []
    for thing in picture.things:
        body, head = thing.parts
        proposals += [_jittered(thing.box, 0.08, rng) for _ in range(_WHOLES)]
        proposals += [_jittered(part, 0.08, rng) for part in (body, head) for _ in range(_PARTS)]
        proposals += [_jittered(_grown(thing.box, 0.35), 0.1, rng) for _ in range(_LOOSE)]
    for _ in range(_RANDOM):
        corner = rng.uniform(0, (SIZE[1] - 24, SIZE[0] - 24))
        proposals.append(np.concatenate([corner, corner + rng.uniform(16, 60, 2)]))
    boxes = clip(np.stack(proposals), SIZE)
    return boxes[rng.permutation(len(boxes))]


def _jittered(box: NDArray[np.floating], share: float, rng: Rng) -> NDArray[np.floating]:
    """Each side moved by a normal deviate, `share` times the box's width or height."""
    width, height = box[2] - box[0], box[3] - box[1]
    moved = box + rng.normal(0, share, 4) * [width, height, width, height]
    return np.concatenate([np.minimum(moved[:2], moved[2:] - 4), np.maximum(moved[2:], moved[:2] + 4)])


def _grown(box: NDArray[np.floating], share: float) -> NDArray[np.floating]:
    margin = share * (box[2:] - box[:2])
    return np.concatenate([box[:2] - margin, box[2:] + margin])


def _logits(picture: Picture, boxes: Boxes, config: ImageWorldConfig, rng: Rng) -> NDArray[np.float64]:
    """[R, 1 + C] logits; some unknown things are weakly taken for another class."""
    logits = np.zeros((len(boxes), 1 + len(CLASSES)))
    logits[:, 0] = _DOUBT
    covered = iou(boxes, np.stack([thing.box for thing in picture.things]))
    for thing, overlap in zip(picture.things, covered.T, strict=True):
        if thing.kind.known:
            number, height = 1 + CLASSES.index(thing.kind.name), _SURE
        else:
            number, height = 1 + int(rng.integers(len(CLASSES))), _MISTAKEN
        logits[:, number] = np.maximum(logits[:, number], height * overlap)
    return logits + rng.normal(0, config.detector_noise, logits.shape)


def _features(picture: Picture, boxes: Boxes, config: ImageWorldConfig, rng: Rng) -> NDArray[np.float32]:
    """[R, D] a fixed random layer over the shapes and colors that fill a region, each by its share of the area."""
    fixed = np.random.default_rng([config.seed, 7])
    layer = fixed.normal(0, 1, (len(_LOOKS), config.channels))
    seen = np.zeros((len(boxes), config.channels))
    free = np.ones(len(boxes))
    for thing in picture.things:
        body, head = thing.kind.type, thing.kind.head
        for looks, part in zip(((body, thing.color), (head,)), thing.parts, strict=True):
            share = _share(boxes, part)
            own = config.look_noise * rng.normal(0, 1, config.channels)
            seen += share[:, None] * (layer[[_LOOKS.index(look) for look in looks]].sum(0) + own)
            free -= share
    seen += free[:, None] * layer[_LOOKS.index(picture.scene)]
    seen += config.feature_noise * rng.normal(0, 1, seen.shape)
    return np.maximum(seen, 0).astype(np.float32)


def _share(boxes: Boxes, part: NDArray[np.float32]) -> NDArray[np.float64]:
    """[R] fraction of each region's area that a part fills."""
    low, high = np.maximum(boxes[:, :2], part[:2]), np.minimum(boxes[:, 2:], part[2:])
    return (high - low).clip(min=0).prod(1) / area(boxes)
