"""Proposed boxes of a room: from a detector's files, or the true instances, as in ReferIt3D.

A detector's output is `ROOT/proposals/SCENE.npz`: arrays of M proposals in the room's aligned frame.

boxes             [M, 6] centre and size, metres; or `corners` [M, 8, 3]; or `masks` [M, N] bool, the proposal's
                  vertices of the mesh
class_logits      [M, 18] in the order of `datasets.grounding.classes.CLASSES`; or [M, C] with `class_names` [C]
                  of a detector with other classes, such as SUN RGB-D's; or `classes` [M] int and `scores` [M] 0..1
objectness        [M] 0 or 1; or `objectness_logits`, [M] (GroupFree: positive for an object) or [M, 2] (VoteNet:
                  the second is larger for an object); optional with `masks`: all are objects
features          [M, D] the query or cluster feature: 288 numbers of GroupFree, 128 of VoteNet or Mask3D

`masks`, `classes` and `scores` are Mask3D's form. Features may be omitted if they are pooled from a 3D student.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import parse_npz, read_bytes
from datasets.grounding.classes import CLASSES, to_classes
from datasets.grounding.instances import Scene
from scenelift.errors import FrameError
from scenelift.geometry.boxes3d import from_corners
from scenelift.samples.plausible import FARTHEST_IN_ROOM, require_metres
from scenelift.samples.room import UNNAMED, Floats

FOLDER = "proposals"
_LARGEST = 1e6
"""Features, logits and coordinates are below it."""
_SURE = 0.999
"""Scores are clipped to this probability, so that logits stay finite."""


@dataclass(frozen=True)
class Proposals:
    """Shapes as in `scenelift.samples.room.Room`; features may have no channels yet."""

    boxes: Floats
    class_logits: Floats
    objectness: NDArray[np.bool_]
    instances: NDArray[np.int32]
    features: Floats


def read_detector(root: Path, name: str, scene: Scene) -> Proposals:
    """A detector's file; FrameError if it is missing, or its arrays do not match the table above."""
    path = root / FOLDER / f"{name}.npz"
    if not path.exists():
        raise FrameError(
            f"no {path}; run a detector and write its output there, or choose among the true instances, which is "
            "another protocol: --candidates instances"
        )
    arrays = parse_npz(str(path), read_bytes(root, f"{FOLDER}/{name}.npz"))
    try:
        boxes, logits = _boxes(arrays, scene), _logits(arrays)
        proposals = Proposals(
            boxes=boxes,
            class_logits=logits,
            objectness=_objectness(arrays),
            instances=np.full(len(boxes), UNNAMED, np.int32),
            features=arrays.get("features", np.zeros((len(boxes), 0))).astype(np.float32),
        )
        _require_fitting(proposals)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise FrameError(f"{path}: {error}") from None
    require_metres(f"{path}: boxes", proposals.boxes, FARTHEST_IN_ROOM)
    return proposals


def _boxes(arrays: dict[str, NDArray[np.generic]], scene: Scene) -> Floats:
    if "boxes" in arrays:
        return np.asarray(arrays["boxes"], np.float32)
    if "corners" in arrays:
        return from_corners(np.asarray(arrays["corners"], np.float32))
    if "masks" not in arrays:
        raise ValueError("has none of the arrays boxes, corners, masks")
    given = arrays["masks"]
    if given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        raise ValueError(f"masks are {given.dtype} and not all 0 or 1")
    masks = given.astype(bool)
    if masks.ndim != 2 or masks.shape[1] != len(scene.points):
        raise ValueError(f"masks are {masks.shape}, not [M, {len(scene.points)}] over the mesh's vertices")
    if not masks.any(1).all():
        raise ValueError("masks has a row without vertices")
    return np.array([from_corners(scene.points[mask]) for mask in masks], np.float32).reshape(-1, 6)


def _logits(arrays: dict[str, NDArray[np.generic]]) -> Floats:
    if "class_logits" in arrays:
        logits = np.asarray(arrays["class_logits"], np.float32)
        if "class_names" not in arrays:
            return logits
        names = [str(name).replace("_", " ") for name in np.atleast_1d(arrays["class_names"])]
        if logits.ndim != 2 or logits.shape[1] != len(names):
            raise ValueError(f"class_logits is {list(logits.shape)} for {len(names)} class_names")
        return to_classes(logits, names)
    if not {"classes", "scores"} <= arrays.keys():
        raise ValueError("has neither class_logits nor classes and scores")
    classes, scores = np.asarray(arrays["classes"], np.int64), np.asarray(arrays["scores"], np.float32)
    if classes.ndim != 1 or scores.shape != classes.shape:
        raise ValueError(
            f"classes and scores are {list(classes.shape)} and {list(scores.shape)}, not both [M]"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores are not probabilities of 0..1")
    if len(classes) and (classes.min() < 0 or classes.max() >= len(CLASSES)):
        raise ValueError(f"classes are 0..{len(CLASSES) - 1}, not {classes.min()}..{classes.max()}")
    return certain(classes, scores)


def certain(classes: NDArray[np.integer], probability: Floats) -> Floats:
    """[M, 18] logits whose softmax is the given probability for the class and uniform over all others."""
    logits = np.zeros((len(classes), len(CLASSES)), np.float32)
    sure = np.clip(probability, 1 / len(CLASSES), _SURE)
    logits[np.arange(len(classes)), classes] = np.log(sure * (len(CLASSES) - 1) / (1 - sure))
    return logits


def _objectness(arrays: dict[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
    if "objectness" in arrays:
        flags = np.asarray(arrays["objectness"])
        if not np.isin(flags, (0, 1)).all():
            raise ValueError("objectness is 0 or 1; write logits as objectness_logits")
        return flags.astype(bool)
    if "objectness_logits" not in arrays:
        if "masks" not in arrays:
            raise ValueError("has neither objectness nor objectness_logits")
        return np.ones(len(arrays["masks"]), bool)
    logits = np.asarray(arrays["objectness_logits"], np.float32)
    if logits.shape[1:] not in ((), (2,)) or not np.isfinite(logits).all():
        raise ValueError(f"objectness_logits are {list(logits.shape)}, not finite numbers [M] or [M, 2]")
    return logits[:, 1] > logits[:, 0] if logits.ndim == 2 else logits > 0


def _require_fitting(proposals: Proposals) -> None:
    """ValueError unless the arrays agree on M, have the right widths, and are finite."""
    count = len(proposals.boxes)
    shapes = {
        "boxes": (proposals.boxes.shape, (count, 6)),
        "class_logits": (proposals.class_logits.shape, (count, len(CLASSES))),
        "objectness": (proposals.objectness.shape, (count,)),
        "features": (proposals.features.shape, (count, proposals.features.shape[-1])),
    }
    for key, (shape, wanted) in shapes.items():
        if shape != wanted:
            raise ValueError(f"{key} is {list(shape)}, not {list(wanted)} to match the boxes")
    if not count:
        raise ValueError("proposes nothing")
    for key in ("boxes", "class_logits", "features"):
        if not (np.abs(getattr(proposals, key)) < _LARGEST).all():
            raise ValueError(f"{key} has numbers that are not finite, or beyond {_LARGEST:,.0f}")
    if (proposals.boxes[:, 3:] <= 0).any():
        raise ValueError("boxes has a box without size")


def true_instances(scene: Scene, categories: NDArray[np.int64]) -> Proposals:
    """The objects themselves, with certain classes (ReferIt3D's protocol, ws3dvg.md 18).

    categories: [G] class of each. FrameError for a scene without objects.
    """
    count = len(scene.boxes)
    if not count:
        raise FrameError(
            "its aggregation lists no objects, so there are no instances to choose from; leave it out"
        )
    return Proposals(
        boxes=scene.boxes,
        class_logits=certain(categories, np.full(count, _SURE, np.float32)),
        objectness=np.ones(count, bool),
        instances=scene.numbers,
        features=np.zeros((count, 0), np.float32),
    )
