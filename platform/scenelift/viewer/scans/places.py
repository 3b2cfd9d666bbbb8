"""What a place holds that can be looked at: shards, the shards and the student of a run, or plain clouds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np

from scenelift.config import files
from scenelift.errors import DataError, StorageError
from scenelift.inference.config import InputConfig
from scenelift.inference.files.clouds import Chunk, CloudFile, find_clouds
from scenelift.io import storage
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import MANIFEST, Kind
from scenelift.samples.room import ROOM
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Samples, Shards, open_samples
from scenelift.viewer.scans.view import AS_USUAL, PlainCloud, View

MOST_POINTS = 1_000_000
"""Points that a browser draws without delay; of larger clouds every k-th point is shown."""
CLOUD = "cloud"
"""Kind of what lies in plain files."""
_KINDS: dict[str, Kind[Any]] = {kind.name: kind for kind in (FRAME, ROOM, CAPTIONED_IMAGE)}
_CONFIG = "config.yaml"


class Scans(Protocol):
    """Clouds that can be viewed one by one."""

    @property
    def path(self) -> str: ...

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Meaning of the labels that they have; None: they have none."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def scenes(self) -> Sequence[str]: ...

    @property
    def key(self) -> str:
        """Changes with the content."""

    @property
    def paired(self) -> bool:
        """Whether photos show any of the points."""

    def read(self, index: int) -> View: ...


@dataclass(frozen=True)
class ShardScans:
    """The frames of a folder of shards."""

    shards: Shards

    @property
    def path(self) -> str:
        return self.shards.path

    @property
    def vocabulary(self) -> Vocabulary | None:
        return self.shards.vocabulary

    @property
    def names(self) -> Sequence[str]:
        return self.shards.tokens

    @property
    def scenes(self) -> Sequence[str]:
        return self.shards.scenes

    @cached_property
    def key(self) -> str:
        return digest(self.shards.manifest.to_json())

    @property
    def paired(self) -> bool:
        return any(self.shards.about.pairs.values())

    def read(self, index: int) -> View:
        """The keyframe of a frame."""
        return View.of_frame(self.shards.read(index))


@dataclass(frozen=True)
class FileScans:
    """Clouds in plain files."""

    path: str
    files: Sequence[CloudFile]
    reading: InputConfig = AS_USUAL
    vocabulary: Vocabulary | None = None
    paired: bool = False

    @property
    def names(self) -> Sequence[str]:
        return [file.name for file in self.files]

    @property
    def scenes(self) -> Sequence[str]:
        return [name.rpartition("/")[0] or "." for name in self.names]

    @cached_property
    def key(self) -> str:
        about = [[file.name, file.path.stat().st_size, file.path.stat().st_mtime_ns] for file in self.files]
        return digest(json.dumps([self.path, repr(self.reading), about]))

    def read(self, index: int) -> View:
        """One file, thinned if it is large; DataError if it is broken."""
        file = self.files[index]
        chunk, step = thinned(file.chunks())
        return View.of_cloud(file.name, PlainCloud(str(file.path), chunk, self.reading), step)


def thinned(chunks: Iterable[Chunk], most: int = MOST_POINTS) -> tuple[Chunk, int]:
    """One chunk of every k-th point, and k: the smallest power of two that leaves at most `most` points. Memory
    holds twice as many."""
    kept: list[Chunk] = []
    step, read = 1, 0
    for chunk in chunks:
        kept.append(_every(chunk, -read % step, step))
        read += len(chunk.points)
        while -(-read // step) > 2 * most:
            kept, step = _halved(kept), 2 * step
    while -(-read // step) > most:
        kept, step = _halved(kept), 2 * step
    if not kept:
        return Chunk(np.zeros((0, 3), np.float32)), 1
    names = [name for name in kept[0].columns if all(name in each.columns for each in kept)]
    points = np.concatenate([each.points for each in kept])
    return Chunk(
        points, {name: np.concatenate([each.columns[name] for each in kept]) for name in names}
    ), step


def _every(chunk: Chunk, first: int, step: int) -> Chunk:
    columns = {name: values[first::step] for name, values in chunk.columns.items()}
    return Chunk(chunk.points[first::step], columns)


def _halved(kept: list[Chunk]) -> list[Chunk]:
    halves, odd = [], 0
    for chunk in kept:
        halves.append(_every(chunk, odd, 2))
        odd = (odd + len(chunk.points)) % 2
    return halves


@dataclass(frozen=True)
class Found:
    """What a place holds."""

    kind: str
    """Kind of its samples, or `CLOUD`."""
    scans: Scans | None
    """Of frames and clouds."""
    samples: Samples[Any] | None
    """Of rooms and captioned images."""


def of_run(place: str) -> tuple[str | None, str | None] | None:
    """(shards that a run was scored on, else trained on, None for synthetic ones; its student, if it has one);
    None: the place is no run."""
    filesystem, path = storage.resolve(place)
    if not storage.exists(filesystem, storage.join(path, _CONFIG)):
        return None
    data = _read(storage.join(place, _CONFIG), "YAML").get("data")
    folder = (data.get("test") or data.get("train")) if isinstance(data, dict) else None
    student = storage.join(place, "student")
    there = storage.exists(*storage.resolve(student))
    return folder, student if there else None


def run_of(student: str) -> str | None:
    """The run's folder that a student lies in; None: none."""
    folder = storage.absolute(student)
    for parent in (storage.split(folder)[0], storage.split(storage.split(folder)[0])[0]):
        filesystem, path = storage.resolve(parent)
        if parent and storage.exists(filesystem, storage.join(path, _CONFIG)):
            return parent
    return None


def open_place(place: str, reading: InputConfig = AS_USUAL) -> Found:
    """Open shards of any kind, or plain clouds; a SceneliftError says what is wrong with the place."""
    filesystem, path = storage.resolve(place)
    manifest = storage.join(path, MANIFEST)
    if storage.exists(filesystem, manifest):
        kind = _kind(storage.read_bytes(filesystem, manifest), manifest)
        if kind == FRAME.name:
            return Found(kind, ShardScans(Shards.open(place)), None)
        return Found(kind, None, open_samples(place, _KINDS[kind]))
    return Found(CLOUD, FileScans(place, find_clouds(place, reading.values), reading), None)


def _kind(text: bytes, path: str) -> str:
    try:
        kind = json.loads(text).get("kind", FRAME.name)
    except (ValueError, AttributeError):
        kind = FRAME.name  # opening it says what is wrong
    if kind not in _KINDS:
        raise DataError(f"{path} describes samples of the kind {kind}; shown are {', '.join(_KINDS)}")
    return str(kind)


def trained_by(student: str | None) -> str:
    """The trainable whose run trained a student, such as distill; of no student or one outside of a run too."""
    home = None if student is None else run_of(student)
    if home is None or not storage.exists(*storage.resolve(identity := storage.join(home, "run.json"))):
        return "distill"
    tags = _read(identity, "JSON").get("tags", {})
    return str(tags.get("trainable", "distill")) if isinstance(tags, dict) else "distill"


def _read(path: str, form: Literal["YAML", "JSON"]) -> dict[str, Any]:
    """A file of a run; StorageError if it cannot be read."""
    advice = "give --data too, the shards to look at"
    return files.read(path, {}, files.VERSION, files.MIGRATIONS, StorageError, advice, form)


def digest(content: str | bytes) -> str:
    """16 hexadecimal digits."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]
