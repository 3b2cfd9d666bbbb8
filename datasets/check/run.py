"""Whether a data set is read as it should be: `python -m datasets.check --source mine.py:Mine --root ROOT`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from datasets.check.cameras import Camera, cameras
from datasets.check.config import CheckConfig
from scenelift.config.outside import is_outside
from scenelift.errors import DataError
from scenelift.io import secrets
from scenelift.samples.config import ReadOptions
from scenelift.samples.conformance import check_source
from scenelift.samples.frame import Frame, Source
from scenelift.samples.images import decode
from scenelift.teachers.config import GROUP


def run(config: CheckConfig) -> None:
    """Check, draw and report; DataError, in one line, for what is wrong."""
    source, options = config.open(), ReadOptions(config.lidar_sweeps, config.image_size)
    _check_words(config, source)
    keyframes = source.list_samples(config.split)
    frames = check_source(source, config.split, options, config.frames)
    start = time.monotonic()
    source.read(keyframes[0], options)
    seconds = time.monotonic() - start
    seen = [cameras(frame) for frame in frames]
    drawn = [
        path
        for frame, views in zip(frames, seen, strict=True)
        for path in _draw(config, source, frame, views)
    ]
    rows = {
        "data set": f"{source.name} {source.version}, {len(keyframes):,} keyframes, {len(frames)} checked",
        "points": _points(frames),
        "features": _features(frames),
        "labels": _labels(source, frames),
        "words": f"all known to the teacher {config.teacher.model}",
        **{f"camera {view.name}": view.text for view in seen[0]},
        "time": f"{seconds:.2f} s a frame, on one core",
        "pictures": f"look at {drawn[0]}{f' and {len(drawn) - 1} more' if drawn[1:] else ''}"
        if drawn
        else "no photos",
    }
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))
    for line in dict.fromkeys(line for view in seen[0] for line in view.advice()):
        print(f"note: {line}")
    if mistakes := [view.mistake for views in seen for view in views if view.mistake]:
        raise DataError(f"{'; '.join(dict.fromkeys(mistakes))}. Look at {drawn[0]}")
    print(f"next: {secrets.command(_next(config))}")


def _check_words(config: CheckConfig, source: Source) -> None:
    """SceneliftError for a word that the teacher does not know, or a teacher from outside that does not fit."""
    from scenelift.teachers.weights import require_words  # takes seconds

    if is_outside(config.teacher.model, GROUP):
        from scenelift.teachers.clip import build_teacher
        from scenelift.teachers.conformance import check_teacher

        check_teacher(build_teacher(config.teacher, source.vocabulary))
    else:
        require_words(config.teacher, source.vocabulary)


def _points(frames: Sequence[Frame]) -> str:
    count = round(np.mean([frame.keyframe.sum() for frame in frames]))
    points = frames[0].points[frames[0].keyframe]
    apart = (
        "" if len(points) < 2 else f", {np.median(KDTree(points).query(points, k=2)[0][:, 1]):.3f} m apart"
    )
    return f"{count:,} a frame, up to {np.abs(points).max():.0f} m away{apart}"


def _features(frames: Sequence[Frame]) -> str:
    columns = np.concatenate([frame.features for frame in frames]).T
    ranges = ", ".join(f"{column.min():.3g}..{column.max():.3g}" for column in columns)
    return f"{len(columns)} a point: {ranges}"


def _labels(source: Source, frames: Sequence[Frame]) -> str:
    known = [frame.labels[frame.keyframe] for frame in frames if frame.labels is not None]
    if not known:
        return "none"
    counts = np.bincount(np.concatenate(known), minlength=1 + len(source.vocabulary.classes)).tolist()
    names = ("ignored", *source.vocabulary.classes)
    return ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True) if count)


def _draw(config: CheckConfig, source: Source, frame: Frame, views: Sequence[Camera]) -> list[Path]:
    """The pictures of a frame: its points by depth, and by label where there are some."""
    if not views:
        return []
    from scenelift.evaluation import overlays  # imports matplotlib

    images: list[NDArray[np.uint8]] = [decode(image) for image in frame.images]
    pixels, depths = [view.pixels for view in views], [view.depth for view in views]
    name = "".join(letter if letter.isalnum() else "_" for letter in frame.token)
    paths = [config.folder / f"{name}_depth.png"]
    overlays.points_on_photos(paths[0], images, frame.cameras, pixels, depths)
    if frame.labels is not None and frame.labels.any():
        paths.append(config.folder / f"{name}_labels.png")
        mine = [frame.labels[frame.pair_points[frame.pair_pixels[:, 0] == i]] for i in range(len(views))]
        overlays.labels_on_photos(paths[1], images, frame.cameras, pixels, mine, source.vocabulary)
    return paths


def _next(config: CheckConfig) -> list[str]:
    """The command that makes shards of what was checked."""
    words = ["python", "-m", "datasets.shard"]
    words += ["--source", config.source] if config.source else [config.dataset]
    words += ["--root", str(config.root), "--version", config.version]
    words += ["--split", config.split] if config.split else []
    words += ["--image_size", *map(str, config.image_size)]
    return [*words, *(["--lidar_sweeps", str(config.lidar_sweeps)] if config.lidar_sweeps else [])]
