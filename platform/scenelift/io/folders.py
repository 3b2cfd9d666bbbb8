"""Folders that are whole or not there, on any file system: checkpoints and saved students.

Object stores cannot rename a folder, so none is renamed anywhere: a folder is whole when its last file,
`done.json`, is there and all the files that it names have the lengths that it says.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs

from scenelift.errors import StorageError
from scenelift.io import storage
from scenelift.io.storage import Location

DONE = "done.json"
"""The last file of a folder: {"files": {name: bytes}, "about": what was said of it}."""


@contextmanager
def written(target: Location, told: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A local folder to write files into, which is whole at `target` when the `with` has ended well.

    told: plain values that `about` gives back. On a local disk the folder is the target itself, elsewhere a
    temporary one that is copied. What was at `target` before is deleted first. Raises StorageError.
    """
    filesystem, path = storage.resolve(target)
    remove(target)
    if storage.is_local(filesystem):
        storage.make_folder(filesystem, path)
    try:
        with _workplace(filesystem, path) as folder:
            with storage.explained(*storage.resolve(folder)):
                yield folder
            if not storage.is_local(filesystem):
                upload(folder, target)
            sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        said = json.dumps({"files": sizes, "about": dict(told or {})})
        storage.write_atomic(filesystem, storage.join(path, DONE), said.encode())
    except BaseException:
        with suppress(StorageError):
            remove(target)
        raise


@contextmanager
def _workplace(filesystem: pafs.FileSystem, path: str) -> Iterator[Path]:
    if storage.is_local(filesystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
        yield Path(folder)


def about(target: Location) -> dict[str, Any] | None:
    """What was said of a folder when it was written; None: there is none, or it is not whole."""
    filesystem, path = storage.resolve(target)
    sizes = storage.list_files(filesystem, path)
    if DONE not in sizes:
        return None
    done = json.loads(storage.read_bytes(filesystem, storage.join(path, DONE)))
    whole = all(sizes.get(name) == size for name, size in done["files"].items())
    return dict(done["about"]) if whole else None


@contextmanager
def fetched(target: Location, names: Sequence[str] | None = None) -> Iterator[Path]:
    """A folder as a local one, for reading: itself, or a copy that goes with the `with`.

    names: the files that are wanted; None: all.
    """
    filesystem, path = storage.resolve(target)
    if storage.is_local(filesystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="scenelift-") as folder:
        for name in storage.list_files(filesystem, path):
            if names is None or name in names:
                data = storage.read_bytes(filesystem, storage.join(path, name))
                (Path(folder) / name).write_bytes(data)
        yield Path(folder)


def upload(source: Path, target: Location) -> None:
    """Copy a local file, or what a local folder holds, over what is at `target`; StorageError if it cannot be."""
    filesystem, path = storage.resolve(target)
    names = {file: str(file.relative_to(source)) for file in _files(source)}
    places = {file: path if file == source else storage.join(path, name) for file, name in names.items()}
    for parent in sorted({storage.split(place)[0] for place in places.values()}):
        storage.make_folder(filesystem, parent)
    for file, place in places.items():
        explained = storage.explained(filesystem, place, file.stat().st_size)
        with explained, file.open("rb") as data, filesystem.open_output_stream(place) as stream:
            shutil.copyfileobj(data, stream, 1 << 22)


def remove(target: Location) -> None:
    """Delete a folder, if it is there; killed on the way it leaves one that is not whole."""
    filesystem, path = storage.resolve(target)
    storage.delete(filesystem, storage.join(path, DONE))
    with storage.explained(filesystem, path), suppress(FileNotFoundError):
        filesystem.delete_dir(path)


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    return sorted(file for file in source.rglob("*") if file.is_file())
