"""Features of a proposal besides its box: colors of the cloud, or the features of a distilled 3D student."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.grounding.classes import to_classes
from datasets.grounding.instances import Scene
from datasets.grounding.proposals import Proposals
from scenelift.errors import DataError
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.samples.frame import Frame
from scenelift.samples.room import UNNAMED, Floats

_AT_ONCE = 32
"""Boxes that are compared with all points at a time."""


def pooled(values: Floats, scene: Scene, proposals: Proposals) -> Floats:
    """[N, D] values of the vertices -> [M, D] means over each proposal's vertices: those of its instance, or those
    inside its box. 0 if there are none."""
    members = _members(scene, proposals)
    sums = np.concatenate(
        [part.astype(np.float32) @ values for part in np.array_split(members, _parts(members))]
    )
    return (sums / np.maximum(members.sum(1), 1)[:, None]).astype(np.float32)


def _parts(members: NDArray[np.bool_]) -> int:
    return -(-len(members) // _AT_ONCE)


def _members(scene: Scene, proposals: Proposals) -> NDArray[np.bool_]:
    """[M, N] whether a vertex belongs to a proposal."""
    if (proposals.instances != UNNAMED).all():
        return np.arange(len(scene.numbers))[:, None] == scene.vertex_object
    members = np.empty((len(proposals.boxes), len(scene.points)), bool)
    for row, box in zip(members, proposals.boxes, strict=True):
        row[:] = (np.abs(scene.points - box[:3]) <= box[3:] / 2).all(1)
    return members


def cloud_features(scene: Scene, proposals: Proposals) -> Floats:
    """[M, 10] mean and standard deviation of the color (0..1), log of the size, height of the lower side, metres.

    Needs neither detector nor network, so that true instances can be grounded without either.
    """
    colors = scene.colors.astype(np.float32) / np.float32(255)
    mean = pooled(colors, scene, proposals)
    square = pooled(colors**2, scene, proposals)
    deviation = np.sqrt(np.clip(square - mean**2, 0, None))
    boxes = proposals.boxes
    size = np.log(np.maximum(boxes[:, 3:], 0.01))
    return np.concatenate([mean, deviation, size, boxes[:, 2:3] - boxes[:, 5:] / 2], 1).astype(np.float32)


def student_features(folder: Path, frame: Frame, scene: Scene, proposals: Proposals) -> tuple[Floats, Floats]:
    """[M, D] mean backbone features of a student, and [M, 18] mean class logits, of each proposal's vertices.

    frame: the scene as the student was trained to see it, its points the scene's vertices in their order.
    """
    student = _load(folder)
    if frame.features.shape[1] != student.point_features:
        raise DataError(
            f"{folder} takes {student.point_features} features per point, ScanNet has {frame.features.shape[1]}; "
            "use a student that was trained on ScanNet, or on the synthetic world in its layout"
        )
    with torch.inference_mode():
        batch = Collate(student.config.voxels, images=False)([frame])
        student.require_scale(batch.voxels, frame.token)
        features = student(batch.voxels)
        logits = student.class_logits(features)
    rows = batch.point_voxel
    return (
        pooled(features[rows].numpy(), scene, proposals),
        to_classes(pooled(logits[rows].numpy(), scene, proposals), student.vocabulary.classes),
    )


@cache
def _load(folder: Path) -> Student:
    return Student.load(folder)
