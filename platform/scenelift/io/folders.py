"""Folders that are complete or absent, on any file system: checkpoints and saved students. Object stores cannot
rename a folder, so a folder is complete when its last file, `done.json`, lists all files with their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from scenelift.errors import StorageError
from scenelift.io import storage
from scenelift.io.storage import Location

_LARGEST = 1 << 20
"""Bytes of `DONE`."""
DONE = "done.json"
"""The file written last: {"files": {name: {"bytes": ..., "sha256": ...}}, "about": the writer's own values}."""
MARK = ".scenelift"
"""The file written first: a folder that has neither it nor `DONE` is not ours, and is never deleted."""


@contextmanager
def written(target: Location, values: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """A local folder to write files into; complete at `target` once the `with` block succeeds. values: plain
    values for `about`. On a local disk the folder is the target, else a temporary one that is copied. What was
    written at `target` before is deleted first. Raises StorageError, also where somebody else's files are."""
    filesystem, path = storage.resolve(target)
    remove(target)
    local = storage.is_local(filesystem)
    storage.make_folder(filesystem, path)
    try:
        storage.write_atomic(
            filesystem, storage.join(path, MARK), b"written by Scenelift, which may delete it\n"
        )
        with nullcontext(path) if local else tempfile.TemporaryDirectory(prefix="scenelift-") as name:
            folder = Path(name)
            with storage.explained(*storage.resolve(folder)):
                yield folder
                files = {file.name: _described(file) for file in folder.iterdir() if file.name != MARK}
                for file in [folder / name for name in files] + [folder] if local else []:
                    storage.sync(file)
            if not local:
                upload(folder, target)
        text = json.dumps({"files": files, "about": dict(values or {})})
        storage.write_atomic(filesystem, storage.join(path, DONE), text.encode())
    except BaseException:
        with suppress(StorageError):
            remove(target)
        raise


def about(target: Location) -> dict[str, Any] | None:
    """The values that `written` stored with a folder; None if it does not exist or is incomplete."""
    done = _done(target)
    return None if done is None else dict(done["about"])


def intact(folder: Path, names: Collection[str] | None = None) -> bool:
    """Whether files of a fetched folder, by default all, have the content that was written. Reads them."""
    listed = _listed(folder)
    if listed is None:
        return False
    wanted = {name: each for name, each in listed["files"].items() if names is None or name in names}
    if not all((folder / name).is_file() for name in wanted):
        return False
    return all(_described(folder / name) == each for name, each in wanted.items() if each["sha256"])


def _done(target: Location) -> dict[str, Any] | None:
    """The content of `DONE`; None where it is missing or broken, as after a power loss, or files are."""
    listed, sizes = _listed(target), storage.list_files(*storage.resolve(target))
    if listed is None or any(sizes.get(name) != each["bytes"] for name, each in listed["files"].items()):
        return None
    return listed


def _listed(target: Location) -> dict[str, Any] | None:
    filesystem, path = storage.resolve(target)
    if DONE not in storage.list_files(filesystem, path):
        return None
    try:
        done = json.loads(storage.read_bytes(filesystem, storage.join(path, DONE), _LARGEST))
        files = {
            name: {"bytes": each, "sha256": None} if isinstance(each, int) else each  # 0.1 had sizes alone
            for name, each in done["files"].items()
        }
        sound = all({"bytes", "sha256"} <= each.keys() for each in files.values())
        return {"files": files, "about": dict(done["about"])} if sound else None
    except (StorageError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _described(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


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
        files = sorted(
            (file for file in source.rglob("*") if file.is_file()), key=lambda each: each.name == DONE
        )
        places = {file: storage.join(path, str(file.relative_to(source))) for file in files}
    for parent in sorted({storage.split(place)[0] for place in places.values()}):
        storage.make_folder(filesystem, parent)
    for file, place in places.items():
        explained = storage.explained(filesystem, place, file.stat().st_size)
        with explained, file.open("rb") as data, filesystem.open_output_stream(place) as stream:
            shutil.copyfileobj(data, stream, 1 << 22)


def remove(target: Location) -> None:
    """Delete a folder that `written` made, if it exists; if killed half-way, what remains counts as incomplete.

    StorageError for a folder with files of somebody else's.
    """
    filesystem, path = storage.resolve(target)
    if storage.is_local(filesystem) and os.path.islink(path):
        os.unlink(path)  # where it points to is not ours
        return
    names = storage.list_files(filesystem, path)
    foreign = names or storage.list_folders(filesystem, path)
    if foreign and names.keys().isdisjoint((MARK, DONE)):
        raise StorageError(
            f"{target} was not written by Scenelift and is not deleted; move it out of the way"
        )
    for name in sorted(names, key=lambda name: (name == MARK, name != DONE)):  # what marks it as ours last
        storage.delete(filesystem, storage.join(path, name))
    with storage.explained(filesystem, path), suppress(FileNotFoundError):
        filesystem.delete_dir(path)


def ours(target: Location) -> bool:
    """Whether `written` began a folder."""
    return not storage.list_files(*storage.resolve(target)).keys().isdisjoint((MARK, DONE))
