"""Results of a segmentation run: metrics by name, tables, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from scenelift.evaluation import pictures, plots
from scenelift.evaluation.config import Absent
from scenelift.samples.frame import Frame
from scenelift.samples.images import decode
from trainables.common.scoring import GROUPS, Evaluation, Labels

if TYPE_CHECKING:
    from scenelift.teachers.clip import DenseClip

Protocol = Literal["label_free", "labeled"]
"""How a student learned the classes: from text alone, or from labels; prefix of its metrics."""
_GROUP = {"student": "all", "teacher": "seen", "random": "all"}
"""Predictor -> the points of its headline score: a teacher predicts only points that cameras see."""


def metrics(
    evaluation: Evaluation, absent: Absent = "leave out", protocol: Protocol = "label_free"
) -> dict[str, float]:
    """Fractions by name, such as label_free/miou, label_free/miou_seen, label_free/iou/car, teacher/miou."""
    values: dict[str, float] = {}
    for name in evaluation.matrices:
        prefix, group = protocol if name == "student" else name, _GROUP[name]
        headline = evaluation.scores(name, group, absent)
        values[f"{prefix}/miou"] = headline.miou
        values[f"{prefix}/accuracy"] = headline.accuracy
        if group == "all":
            for part in GROUPS[1:]:
                values[f"{prefix}/miou_{part}"] = evaluation.scores(name, part, absent).miou
        for label, iou in headline.iou.items():
            values[f"{prefix}/iou/{label}"] = iou
    return values


def class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row per class: its fraction of the labeled points, and each predictor's IoU or None."""
    headline = {name: evaluation.scores(name, _GROUP[name]) for name in evaluation.matrices}
    first = next(iter(evaluation.matrices.values()))["all"]
    share = first.sum(1) / max(1, first.sum())
    rows = []
    for i, label in enumerate(evaluation.vocabulary.classes):
        iou = {f"{name}_iou": scores.iou.get(label) for name, scores in headline.items()}
        rows.append({"class": label, "share_of_points": round(float(share[i]), 4), **iou})
    return rows


def table(evaluation: Evaluation, absent: Absent = "leave out") -> str:
    """The score table as plain text: predictors as rows, then the classes."""
    lines = [f"{'':<10}{'points':>10}{'mIoU':>8}{'seen':>8}{'unseen':>8}{'accuracy':>10}"]
    for name in ("random", "teacher", "student"):
        if name in evaluation.matrices:
            parts = {group: evaluation.scores(name, group, absent) for group in GROUPS}
            head = parts[_GROUP[name]]
            unseen = f"{parts['unseen'].miou:8.3f}" if _GROUP[name] == "all" else f"{'-':>8}"
            lines.append(
                f"{name:<10}{head.points:>10}{head.miou:>8.3f}{parts['seen'].miou:8.3f}{unseen}"
                f"{head.accuracy:>10.3f}"
            )
    rows = class_rows(evaluation)
    columns = [key for key in rows[0] if key.endswith("_iou")]
    names = {column: column.removesuffix("_iou") for column in columns}
    lines += ["", f"{'IoU by class':<24}{'share':>7}" + "".join(f"{names[column]:>10}" for column in columns)]
    for row in rows:
        values = "".join(f"{'-' if row[c] is None else format(row[c], '.3f'):>10}" for c in columns)
        lines.append(f"{row['class']:<24}{row['share_of_points']:>7.3f}{values}")
    left_out = {scores.absent for name in evaluation.matrices if (scores := evaluation.scores(name))}
    missing = sorted(set.intersection(*map(set, left_out)))
    if missing and absent == "leave out":
        lines.append(f"left out of the mean, neither true nor predicted: {', '.join(missing)}")
    return "\n".join(lines)


def draw(folder: Path, evaluation: Evaluation, frames: dict[int, Frame], teacher: DenseClip | None) -> None:
    """Draw bird's-eye views and camera images of the kept frames, and the confusion matrices."""
    for index, labels in evaluation.kept.items():
        _birds_eye(folder / f"birds_eye_{index:05d}.png", evaluation, frames[index], labels)
        if teacher is not None and "student" in labels:
            path = folder / f"cameras_{index:05d}.png"
            _cameras(path, evaluation, frames[index], labels["student"], teacher)
    for name in evaluation.matrices.keys() - {"random"}:
        matrix = evaluation.matrices[name][_GROUP[name]]
        plots.confusion(folder / f"confusion_{name}.png", matrix, evaluation.vocabulary)


def _birds_eye(path: Path, evaluation: Evaluation, frame: Frame, labels: dict[str, Labels]) -> None:
    assert frame.labels is not None
    points, truth = frame.points[frame.keyframe], frame.labels[frame.keyframe]
    panels = {"truth": truth} | {name: labels[name] for name in ("teacher", "student") if name in labels}
    extent = float(np.quantile(np.abs(points[:, :2]), 0.97)) if len(points) else 1.0
    judged = pictures.errors(truth, labels["student"]) if "student" in labels else None
    pictures.birds_eye(path, points, panels, evaluation.vocabulary, extent, judged)


def _cameras(path: Path, evaluation: Evaluation, frame: Frame, student: Labels, teacher: DenseClip) -> None:
    images = np.stack([decode(image) for image in frame.images])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(teacher.text.device)
    dense = (teacher.scores(pixels).argmax(1) + 1).to(torch.uint8).cpu().numpy()
    of_keyframe = frame.keyframe[frame.pair_points]
    named = student[frame.pair_points[of_keyframe]]
    pixels_of_pairs = frame.pair_pixels[of_keyframe]
    pictures.camera_labels(path, images, frame.cameras, dense, pixels_of_pairs, named, evaluation.vocabulary)
