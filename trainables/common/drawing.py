"""Pictures of the frames of a segmentation that matter: those with the most errors, or the most disagreement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from scenelift.samples.frame import Frame
from scenelift.samples.images import decode
from scenelift.samples.vocabulary import Vocabulary
from trainables.common.scoring import Labels, Predictor, TeacherPredictor

if TYPE_CHECKING:
    from scenelift.teachers.teacher import Teacher

PICTURED_FRAMES = 3
"""Frames that are drawn."""
PICTURED_CLASSES = 3
"""Classes of a frame that are drawn by themselves."""
LABELLED = ("teacher", "against", "student")
"""Whose labels are drawn, from left to right."""


def worst(trouble: Mapping[int, float], count: int = PICTURED_FRAMES) -> list[int]:
    """The frames with the most trouble, the worst first; of equal ones those that come first."""
    return sorted(trouble, key=lambda index: (-trouble[index], index))[:count]


def draw(
    folder: Path,
    vocabulary: Vocabulary,
    frames: Mapping[int, Frame],
    predictors: Mapping[str, Predictor],
) -> None:
    """Draw bird's-eye views and camera images of some frames, by index and the worst first, and of two students the
    errors of both; and the most frequent classes of the worst frame, one by one. predictors: of `LABELLED`, and
    others that are not drawn."""
    teacher = predictors.get("teacher")
    for index, frame in frames.items():
        labels = {name: predictors[name].predict(frame) for name in LABELLED if name in predictors}
        _from_above(folder, index, vocabulary, frame, labels, single=index == next(iter(frames)))
        if isinstance(teacher, TeacherPredictor) and "student" in labels and frame.images:
            path = folder / f"cameras_{index:05d}.png"
            _cameras(path, vocabulary, frame, labels["student"], teacher.teacher)


def frequent(truth: Labels) -> list[int]:
    """The labels 1..C with the most points, at most `PICTURED_CLASSES`, the most frequent first."""
    counts = np.bincount(truth[truth > 0])
    order = np.argsort(-counts, kind="stable")[:PICTURED_CLASSES]
    return order[counts[order] > 0].tolist()


def _from_above(
    folder: Path, index: int, vocabulary: Vocabulary, frame: Frame, labels: dict[str, Labels], single: bool
) -> None:
    from scenelift.evaluation import pictures  # imports matplotlib, at the end of a run

    points = frame.points[frame.keyframe]
    extent = float(np.quantile(np.abs(points[:, :2]), 0.97)) if len(points) else 1.0
    path = folder / f"birds_eye_{index:05d}.png"
    if frame.labels is None or not frame.labels[frame.keyframe].any():
        pictures.birds_eye(path, points, labels, vocabulary, extent)
        return
    truth = frame.labels[frame.keyframe]
    judged: dict[str, Labels] = {
        name: pictures.errors(truth, labels[name]) for name in ("against", "student") if name in labels
    }
    pictures.birds_eye(path, points, {"truth": truth} | labels, vocabulary, extent, judged.get("student"))
    if judged and single and (common := frequent(truth)):
        shown = {"truth": truth} | {name: labels[name] for name in judged}
        path = folder / f"classes_{index:05d}.png"
        pictures.class_against_rest(path, points, shown, vocabulary, common, extent)
    if len(judged) > 1:
        pictures.error_maps(folder / f"errors_{index:05d}.png", points, judged, extent)


def _cameras(path: Path, vocabulary: Vocabulary, frame: Frame, student: Labels, teacher: Teacher) -> None:
    from scenelift.evaluation import pictures

    images = np.stack([decode(image) for image in frame.images])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(teacher.text.device)
    dense = (teacher.scores(pixels).argmax(1) + 1).to(torch.uint8).cpu().numpy()
    of_keyframe = frame.keyframe[frame.pair_points]
    named = student[frame.pair_points[of_keyframe]]
    pixels_of_pairs = frame.pair_pixels[of_keyframe]
    pictures.camera_labels(path, images, frame.cameras, dense, pixels_of_pairs, named, vocabulary)
