"""Writing synthetic rooms as ScanNet's scans, ScanRefer's sentences, and a detector's files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.grounding.classes import CLASSES, TABLE, ClassMap
from datasets.grounding.keywords import tokenize
from datasets.grounding.proposals import FOLDER
from datasets.synthetic_rooms.config import RoomsConfig
from datasets.synthetic_rooms.detector import detect
from datasets.synthetic_rooms.grammar import describe
from datasets.synthetic_rooms.room import COLORS, HALF, HANGING, STANDING, Rng, Thing, build, stream
from scenelift.config.files import dump, load
from scenelift.errors import ConfigError, StorageError
from scenelift.io.console import Meter
from scenelift.io.ply import encode_vertices

DONE = "rooms.yaml"
"""The configuration of the folder's rooms; written last."""
_PER_METRE = 120
"""Vertices per square metre of a thing's surface; a tenth of that on the floor."""
_CLASS_OF = {"couch": "sofa", "lamp": "lamp", "trash can": "otherprop"}
"""Raw category -> nyu40class, if they differ. A refrigerator is spelled right, unlike in ScanNet's table, and so
has a class of its own in ScanRefer's count of unique objects."""
_NYU40 = {
    "wall": 1, "floor": 2, "ceiling": 22,
    "cabinet": 3, "bed": 4, "chair": 5, "sofa": 6, "table": 7, "door": 8, "window": 9, "bookshelf": 10,
    "picture": 11, "counter": 12, "desk": 14, "curtain": 16, "refrigerator": 24, "toilet": 33, "sink": 34,
    "lamp": 35, "bathtub": 36, "otherprop": 40,
}  # fmt: skip
_VERTEX = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")]


def generate(config: RoomsConfig) -> int | None:
    """Write the rooms of `config` to `config.out`; the number of sentences, or None if they are already complete.

    Raises ConfigError if the folder holds anything else, StorageError if it cannot be written.
    """
    mark = config.out / DONE
    if mark.exists():
        existing: RoomsConfig = load(RoomsConfig, mark)
        if existing != config:
            raise ConfigError(
                f"{config.out} holds other rooms (see {mark}); choose another --out or delete it"
            )
        return None
    try:
        return _write(config)
    except OSError as error:
        raise StorageError(
            f"cannot write {config.out}: {error}; fix that and run the command again"
        ) from error


def _write(config: RoomsConfig) -> int:
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / TABLE).write_text(label_table())
    classes, count = ClassMap.read(config.out / TABLE), 0
    (config.out / FOLDER).mkdir(exist_ok=True)
    with Meter("making rooms", config.train + config.val, "rooms") as meter:
        for split, names in config.splits().items():
            rows: list[dict[str, Any]] = []
            for name in names:
                rows += write_room(config, name, classes)
                meter.add()
            (config.out / f"scannetv2_{split}.txt").write_text("\n".join(names) + "\n")
            (config.out / f"ScanRefer_filtered_{split}.json").write_text(json.dumps(rows, indent=1))
            count += len(rows)
    unfinished = config.out / f"{DONE}.part"
    unfinished.write_text(dump(config))
    os.replace(unfinished, config.out / DONE)
    return count


def label_table() -> str:
    """ScanNet's label table of the rooms' things, and of wall, floor and ceiling."""
    lines = ["\t".join(("id", "raw_category", "category", "nyu40id", "nyu40class"))]
    for i, name in enumerate(("wall", "floor", "ceiling", *STANDING, *HANGING), 1):
        known = _CLASS_OF.get(name, name)
        lines.append("\t".join((str(i), name, name, str(_NYU40[known]), known)))
    return "\n".join(lines) + "\n"


def write_room(config: RoomsConfig, name: str, classes: ClassMap) -> list[dict[str, Any]]:
    """Write one room's scan and proposals; returns its sentences as rows of ScanRefer's file."""
    things = build(config.seed, name)
    _write_scan(config.out / "scans" / name, name, things, stream(config.seed, name, "scan"))
    detections = detect(things, config.detector, classes, stream(config.seed, name, "detector"))
    np.savez(config.out / FOLDER / f"{name}.npz", allow_pickle=False, **detections)
    rows, numbers = [], dict.fromkeys(range(len(things)), 0)
    for thing, text in describe(things, config.sentences, stream(config.seed, name, "sentences")):
        rows.append(
            {
                "scene_id": name,
                "object_id": str(thing.number),
                "object_name": thing.name.replace(" ", "_"),
                "ann_id": str(numbers[thing.number]),
                "description": text,
                "token": tokenize(text),
            }
        )
        numbers[thing.number] += 1
    return rows


def _write_scan(folder: Path, name: str, things: list[Thing], rng: Rng) -> None:
    """The mesh's vertices, their segments, the objects, and the rotation that aligns the room with the axes."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [_surface(thing.box, COLORS[thing.color], rng) for thing in things]
    floor = rng.uniform((-HALF, -HALF, -0.01), (HALF, HALF, 0.01), (round(_PER_METRE / 10 * 4 * HALF**2), 3))
    parts.append((floor, rng.normal((150, 140, 130), 8, (len(floor), 3))))
    angle = rng.uniform(-np.pi, np.pi)
    align = np.eye(4)
    align[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    align[:2, 3] = rng.uniform(-5, 5, 2)
    aligned = np.concatenate([points for points, _ in parts])
    vertices = np.zeros(len(aligned), _VERTEX)
    for axis, values in zip("xyz", ((aligned - align[:3, 3]) @ align[:3, :3]).T, strict=True):
        vertices[axis] = values
    shades = np.clip(np.concatenate([colors for _, colors in parts]), 0, 255).astype(np.uint8)
    for channel, values in zip(("red", "green", "blue"), shades.T, strict=True):
        vertices[channel] = values
    (folder / f"{name}_vh_clean_2.ply").write_bytes(encode_vertices(vertices))
    numbers = " ".join(f"{value:.9g}" for value in align.ravel())
    (folder / f"{name}.txt").write_text(f"axisAlignment = {numbers} \nsceneType = Synthetic\n")
    _write_objects(folder, name, things, [len(points) for points, _ in parts], rng)


def _write_objects(folder: Path, name: str, things: list[Thing], sizes: list[int], rng: Rng) -> None:
    """Each thing has two segments with arbitrary numbers; the floor is one more."""
    numbers = rng.permutation(1000)[: 2 * len(sizes)].reshape(-1, 2)
    segments = [np.sort(rng.integers(0, 2, size)) for size in sizes]
    index = np.concatenate([pair[half] for pair, half in zip(numbers, segments, strict=True)])
    (folder / f"{name}_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps({"sceneId": name, "segIndices": index.tolist()})
    )
    groups = [
        {"id": i, "objectId": i, "segments": np.unique(index_of).tolist(), "label": label}
        for i, (label, index_of) in enumerate(
            zip([*(thing.name for thing in things), "floor"], numbers, strict=True)
        )
    ]
    (folder / f"{name}.aggregation.json").write_text(json.dumps({"sceneId": name, "segGroups": groups}))


def _surface(
    box: NDArray[np.float64], color: tuple[int, int, int], rng: Rng
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[n, 3] points on the faces of a box, its corners among them, and their colors."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    areas = np.array([box[4] * box[5], box[3] * box[5], box[3] * box[4]]) * 2
    count = max(40, round(_PER_METRE * areas.sum()))
    axis = rng.choice(3, count, p=areas / areas.sum())
    places = rng.uniform(-1, 1, (count, 3))
    places[np.arange(count), axis] = rng.choice([-1.0, 1.0], count)
    points = box[:3] + np.concatenate([signs, places]) * box[3:] / 2
    return points, rng.normal(color, 7, (len(points), 3))


def summary(config: RoomsConfig, sentences: int) -> str:
    """A line about the written rooms."""
    return (
        f"{config.out}: {config.train} train and {config.val} val rooms, {sentences} sentences, "
        f"{len(STANDING) + len(HANGING)} kinds of things in {len(CLASSES)} classes."
    )
