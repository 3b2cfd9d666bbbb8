"""What a place holds that can be looked at: shards, the shards and the student of a run, or plain clouds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from scenelift.errors import DataError
from scenelift.io import storage
from scenelift.runs.folder import Run
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.frame import FRAME
from scenelift.samples.kind import MANIFEST, Kind
from scenelift.samples.room import ROOM
from scenelift.samples.vocabulary import Vocabulary
from scenelift.shards.read import Samples, Shards, open_samples
from scenelift.viewer.view import View

CLOUD = "cloud"
"""Kind of what lies in plain files."""
_KINDS: dict[str, Kind[Any]] = {kind.name: kind for kind in (FRAME, ROOM, CAPTIONED_IMAGE)}
_CONFIG = "config.yaml"


class Scans(Protocol):
    """Clouds that can be viewed one by one."""

    path: str
    vocabulary: Vocabulary | None
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
    files: Sequence[Any]
    """From `scenelift.inference.clouds.find_clouds`."""
    vocabulary: Vocabulary | None = None
    paired: bool = False

    @property
    def names(self) -> Sequence[str]:
        return [str(file.name) for file in self.files]

    @property
    def scenes(self) -> Sequence[str]:
        return [storage.split(name)[0] or "." for name in self.names]

    @cached_property
    def key(self) -> str:
        return digest(json.dumps([self.path, *self.names]))

    def read(self, index: int) -> View:
        """One file; DataError if it is broken."""
        from scenelift.inference.clouds import read_cloud

        cloud = read_cloud(self.files[index])
        return View.of_cloud(cloud.name, cloud.points, cloud.features, cloud.colors)


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
    data = Run(place).settings.get("data") or {}
    folder = data.get("test") or data.get("train")
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


def open_place(place: str) -> Found:
    """Open shards of any kind, or plain clouds; a SceneliftError says what is wrong with the place."""
    filesystem, path = storage.resolve(place)
    manifest = storage.join(path, MANIFEST)
    if storage.exists(filesystem, manifest):
        kind = _kind(storage.read_bytes(filesystem, manifest), manifest)
        if kind == FRAME.name:
            return Found(kind, ShardScans(Shards.open(place)), None)
        return Found(kind, None, open_samples(place, _KINDS[kind]))
    from scenelift.inference.clouds import find_clouds

    files = find_clouds(place)
    if not files:
        raise DataError(
            f"{place} holds neither shards nor a run nor clouds (.bin, .npy, .npz, .ply, .pcd, .las, .e57)"
        )
    return Found(CLOUD, FileScans(place, files), None)


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
    identity = None if student is None or (home := run_of(student)) is None else Run(home).identity
    return str((identity or {}).get("tags", {}).get("trainable", "distill"))


def digest(content: str | bytes) -> str:
    """16 hexadecimal digits."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]
