"""One scan at work: its points in chunks, its labels, in memory or, if it is large, on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError, ScaleError
from scenelift.inference.config import InputConfig
from scenelift.inference.files.clouds import Chunk, CloudFile, features_of
from scenelift.inference.labeler import Labeler, Labels, Question
from scenelift.inference.large import blocks
from scenelift.inference.tiles import MARGIN_VOXELS, MOST_POINTS
from scenelift.io.console import Meter, say
from scenelift.samples.frame import Frame


@dataclass(frozen=True)
class Scan:
    """A named cloud that can be read again and again."""

    name: str
    chunks: Callable[[], Iterator[Chunk]]
    label: Callable[[Labeler, Question, Path], Labels]
    """Labels of all its points; the folder is for temporary files."""
    source: Path | None = None
    """The file that it comes from."""


def of_frame(frame: Frame, reading: InputConfig) -> Scan:
    """The keyframe of a frame of shards, or of a data set."""
    frame = dataclasses.replace(frame, features=_scaled(frame.features, reading))
    points, features = frame.points[frame.keyframe], frame.features[frame.keyframe]
    columns = {f"feature_{i}": values for i, values in enumerate(features.T)}
    if features.shape[1] == 1:
        columns = {"intensity": features[:, 0]}

    def label(labeler: Labeler, question: Question, folder: Path) -> Labels:
        with _advised():
            return labeler.label_frame(frame, question)

    return Scan(frame.token, lambda: iter([Chunk(points, columns)]), label)


def of_file(file: CloudFile, reading: InputConfig) -> Scan:
    """A plain file; the larger ones are labelled tile by tile."""

    def parts(count: int) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
        for chunk in file.chunks():
            features = features_of(chunk, count, reading.columns, str(file.path))
            yield chunk.points, _scaled(features, reading)

    def label(labeler: Labeler, question: Question, folder: Path) -> Labels:
        with _advised():
            return small_or_large(labeler, question, folder)

    def small_or_large(labeler: Labeler, question: Question, folder: Path) -> Labels:
        count = labeler.student.point_features
        first = list(islice(parts(count), 2))
        if len(first) < 2 and (not first or len(first[0][0]) <= MOST_POINTS):
            points, features = first[0] if first else (np.zeros((0, 3)), np.zeros((0, count), np.float32))
            return labeler.label_cloud(str(file.path), points, features, question)
        del first
        return _label_large(labeler, lambda: parts(count), question, folder, str(file.path))

    return Scan(file.name, file.chunks, label, file.path)


def _scaled(features: NDArray[np.float32], reading: InputConfig) -> NDArray[np.float32]:
    if (reading.scale, reading.offset) == (1, 0):
        return features
    return features * np.float32(reading.scale) + np.float32(reading.offset)


@contextmanager
def _advised() -> Iterator[None]:
    try:
        yield
    except ScaleError as error:
        raise DataError(f"{error}; --input.scale 255 multiplies them") from None


def _label_large(
    labeler: Labeler,
    parts: Callable[[], Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]],
    question: Question,
    folder: Path,
    name: str,
) -> Labels:
    """Labels on disk, of a cloud that is never in memory as a whole."""
    count = sum(len(points) for points, _ in parts())
    ids = np.memmap(folder / "ids", np.uint16, "w+", shape=(count,))
    confidence = np.memmap(folder / "confidence", np.float32, "w+", shape=(count,))
    classes = question.asking.classes
    scores = None
    if "scores" in question.extras:
        scores = np.memmap(folder / "scores", np.float32, "w+", shape=(count, len(classes)))
    features = None
    if "features" in question.extras:
        features = np.memmap(folder / "features", np.float32, "w+", shape=(count, labeler.channels))
    margin = MARGIN_VOXELS * labeler.student.config.voxels.size
    tiles = blocks(parts, labeler.student.point_features, MOST_POINTS, margin, folder)
    say(f"{name} has {count:,} points: sorted on disk, then labelled tile by tile")
    with Meter(f"labelling {name}", count, "points") as meter:
        for points, own, numbers, mine in tiles:
            labels = labeler.label_cloud(name, points, own, question)
            rows = numbers[mine]
            ids[rows], confidence[rows] = labels.ids[mine], labels.confidence[mine]
            if scores is not None and labels.scores is not None:
                scores[rows] = labels.scores[mine]
            if features is not None and labels.features is not None:
                features[rows] = labels.features[mine]
            meter.add(len(rows))
    return Labels(ids, classes, confidence, scores, features)
