"""Protects writing and reading of files: nothing is ever half there, and every failure says what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import fs as pafs

from scenelift.errors import StorageError
from scenelift.io import storage
from scenelift.train.checkpoints import Checkpoints
from tests.made.checkpoints import state_of


def test_local_paths_and_uris_name_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_atomic(*storage.resolve("a.bin"), b"content")
    for path in (tmp_path / "a.bin", f"file://{tmp_path}/a.bin"):
        assert storage.read_bytes(*storage.resolve(path)) == b"content"
        assert storage.exists(*storage.resolve(path))
    assert not storage.exists(*storage.resolve("b.bin"))


@pytest.mark.parametrize(
    "filesystem", [pafs.LocalFileSystem(), pafs.SubTreeFileSystem("/", pafs.LocalFileSystem())]
)
def test_other_file_systems_work_too(filesystem: pafs.FileSystem, tmp_path: Path) -> None:
    """A file system that is not local stands for the clouds: no rename, no look at the disk."""
    path = f"{tmp_path}/x"
    storage.write_atomic(filesystem, path, pa.py_buffer(b"replaced"))
    assert storage.read_bytes(filesystem, path) == b"replaced"
    assert storage.list_files(filesystem, str(tmp_path)) == {"x": 8}


def test_a_scheme_that_only_fsspec_knows_keeps_checkpoints() -> None:
    """Written, listed, pruned and read, as in a bucket."""

    class Model:
        def save(self, folder: Path) -> None:
            (folder / "weight").write_text("1")

    checkpoints = Checkpoints("memory://runs/a/checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(step, Model(), {"step": step})  # type: ignore[arg-type]
    latest = checkpoints.latest()
    assert [found.step for found in checkpoints.all()] == [2, 3], "the newest two"
    assert latest is not None and state_of(latest) == {"step": 3}
    with latest.fetched() as folder:
        assert (folder / "weight").read_text() == "1"


def test_unknown_scheme() -> None:
    with pytest.raises(StorageError, match=r"Protocol not known: nowhere; use a local path, s3://"):
        storage.resolve("nowhere://host/file")


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    filesystem, path = storage.resolve(tmp_path / "a")
    storage.write_atomic(filesystem, path, b"old")
    unwritable: Any = ["new"]
    with pytest.raises(TypeError):
        storage.write_atomic(filesystem, path, unwritable)
    assert storage.list_files(filesystem, str(tmp_path)) == {"a": 3}
    assert storage.read_bytes(filesystem, path) == b"old"


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{storage.TEMPORARY}0123-shard").write_bytes(b"half")
    (tmp_path / "shard").write_bytes(b"whole")
    storage.remove_temporary(*storage.resolve(tmp_path))
    assert os.listdir(tmp_path) == ["shard"]


def test_missing_folder_and_file(tmp_path: Path) -> None:
    filesystem, path = storage.resolve(tmp_path / "nowhere" / "a")
    with pytest.raises(StorageError, match="does not exist"):
        storage.read_bytes(filesystem, path)
    with pytest.raises(StorageError, match="does not exist"):
        storage.write_atomic(filesystem, path, b"")
    assert storage.list_files(filesystem, str(tmp_path / "nowhere")) == {}


def test_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file"):
        storage.make_folder(*storage.resolve(tmp_path / "file" / "inner"))


def test_full_disk_says_how_much_is_needed_and_free(tmp_path: Path) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    with (
        pytest.raises(StorageError, match=r"disk is full.*free at"),
        storage.explained(*storage.resolve(tmp_path / "a")),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_space_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    storage.require_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(StorageError, match=r"need about 1000000\.0 GB, .* free at .*tmp"):
        storage.require_space(tmp_path, 10**15)
    storage.require_space("mock:///bucket", 10**15)


def test_sizes_are_readable() -> None:
    assert storage.megabytes(1_234_567) == "1.2 MB" and storage.megabytes(98_765_432_100) == "98.8 GB"
