"""Folders that are complete or absent, on any file system: checkpoints and saved students. Object stores cannot
rename a folder, so a folder is complete when its last file, `done.json`, lists the sizes of all files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from scenelift.errors import StorageError
from scenelift.io import storage
from scenelift.io.storage import Location

DONE = "done.json"
"""The file written last: {"files": {name: bytes}, "about": the writer's own values}."""


@contextmanager
def written(target: Location, values: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A local folder to write files into; complete at `target` once the `with` block succeeds. values: plain
    values for `about`. On a local disk the folder is the target, else a temporary one that is copied. Anything
    already at `target` is deleted first. Raises StorageError."""
    filesystem, path = storage.resolve(target)
    remove(target)
    local = storage.is_local(filesystem)
    if local:
        storage.make_folder(filesystem, path)
    try:
        with nullcontext(path) if local else tempfile.TemporaryDirectory(prefix="scenelift-") as name:
            folder = Path(name)
            with storage.explained(*storage.resolve(folder)):
                yield folder
            if not local:
                upload(folder, target)
            sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        text = json.dumps({"files": sizes, "about": dict(values or {})})
        storage.write_atomic(filesystem, storage.join(path, DONE), text.encode())
    except BaseException:
        with suppress(StorageError):
            remove(target)
        raise


def about(target: Location) -> dict[str, Any] | None:
    """The values that `written` stored with a folder; None if it does not exist or is incomplete."""
    filesystem, path = storage.resolve(target)
    sizes = storage.list_files(filesystem, path)
    if DONE not in sizes:
        return None
    done = json.loads(storage.read_bytes(filesystem, storage.join(path, DONE)))
    complete = all(sizes.get(name) == size for name, size in done["files"].items())
    return dict(done["about"]) if complete else None


@contextmanager
def fetched(target: Location, names: Sequence[str] | None = None) -> Iterator[Path]:
    """A local folder to read from: the target itself, or a temporary copy of all files or of those in `names`."""
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
    """Copy a local file, or a local folder's contents, to `target`, replacing files; StorageError if it fails."""
    filesystem, path = storage.resolve(target)
    places = {source: path}
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.is_file())
        places = {file: storage.join(path, str(file.relative_to(source))) for file in files}
    for parent in sorted({storage.split(place)[0] for place in places.values()}):
        storage.make_folder(filesystem, parent)
    for file, place in places.items():
        explained = storage.explained(filesystem, place, file.stat().st_size)
        with explained, file.open("rb") as data, filesystem.open_output_stream(place) as stream:
            shutil.copyfileobj(data, stream, 1 << 22)


def remove(target: Location) -> None:
    """Delete a folder, if it exists; if killed half-way, what remains counts as incomplete."""
    filesystem, path = storage.resolve(target)
    storage.delete(filesystem, storage.join(path, DONE))
    with storage.explained(filesystem, path), suppress(FileNotFoundError):
        filesystem.delete_dir(path)
