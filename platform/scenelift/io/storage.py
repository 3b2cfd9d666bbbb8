"""Paths on any file system of pyarrow or fsspec: local folders, s3://, gs://, hdfs://, az://, ...

Functions import pyarrow themselves: networks, losses and their steps run where it is missing (`benchmarks.gpu`).
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from scenelift.errors import StorageError, first_line
from scenelift.io.secrets import HIDDEN, address, public

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import fs as pafs

TEMPORARY = ".tmp-"
"""Prefix of files that are being written; a killed job may leave some."""

ATTEMPTS = 6
"""Attempts of a request to a bucket before it fails, with increasing pauses: about 20 s."""
SECONDS = 30.0
"""Timeout of a request to a bucket."""
Location = str | Path
"""A local path or a URI."""


def resolve(path: Location) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI and the absolute path on it; StorageError for an unknown scheme."""
    from pyarrow import fs as pafs

    text = str(path)
    if "://" in text:
        return _resolve_uri(_opened(text))
    return pafs.LocalFileSystem(), str(Path(text).expanduser().absolute())


def _opened(uri: str) -> str:
    """An address from a file of ours, whose keys the environment has; StorageError if they were not keys of S3."""
    if HIDDEN not in uri:
        return uri
    opened = uri.replace(f"{HIDDEN}@", "")
    if not uri.startswith("s3://") or HIDDEN in opened:
        raise StorageError(
            f"{uri} was kept without what opens it; give the whole address again as an option, or for s3:// leave "
            "keys out of it and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return opened


@functools.lru_cache(maxsize=64)  # a cloud client is slow to create and keeps its connections
def _resolve_uri(uri: str) -> tuple[pafs.FileSystem, str]:
    import pyarrow as pa
    from pyarrow import fs as pafs

    try:
        filesystem, inner = pafs.FileSystem.from_uri(uri)
    except OSError as error:
        raise StorageError(_refused(pafs.LocalFileSystem(), uri, first_line(error))) from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        filesystem, inner = _by_fsspec(uri)
    if filesystem.type_name == "s3":
        filesystem = _s3(uri, filesystem.region)
    return filesystem, inner


def _by_fsspec(uri: str) -> tuple[pafs.FileSystem, str]:
    import fsspec
    from pyarrow import fs as pafs

    try:
        filesystem, inner = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError, OSError) as error:
        advice = "use a local path, s3://... or gs://..., or install what fsspec needs"
        raise StorageError(f"{address(uri)}: {public(first_line(error))}; {advice}") from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), inner


def _s3(uri: str, region: str) -> pafs.S3FileSystem:
    """A client of the URI's bucket with more retries and longer timeouts, for which `FileSystem.from_uri` has no
    options. Pickling loses the retries, so each process creates its own client, by `resolve`."""
    from pyarrow import fs as pafs

    parts = urlsplit(uri)
    options: dict[str, Any] = dict(parse_qsl(parts.query)) | {"region": region}
    for name in options.keys() & {"allow_bucket_creation", "allow_bucket_deletion"}:
        options[name] = options[name].lower() in ("true", "1")
    if parts.username:
        options |= {"access_key": unquote(parts.username), "secret_key": unquote(parts.password or "")}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    try:
        return pafs.S3FileSystem(
            **{"endpoint_override": endpoint} | options,
            connect_timeout=10.0,
            request_timeout=SECONDS,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        )
    except TypeError as error:
        raise StorageError(f"{address(uri)}: an option that is not supported: {first_line(error)}") from None


def absolute(path: Location) -> str:
    """The path as processes in any working directory can use it; URIs are unchanged."""
    return str(path) if "://" in str(path) else resolve(path)[1]


def join(folder: str, name: str) -> str:
    """A name inside a folder, given as a resolved path, a local path or a URI, whose options stay at its end."""
    path, options = _options(folder)
    return f"{path.rstrip('/')}/{name}{options}"


def split(path: str) -> tuple[str, str]:
    """Inverse of `join`."""
    path, options = _options(path)
    folder, _, name = path.rstrip("/").rpartition("/")
    return folder + options, name


def _options(path: str) -> tuple[str, str]:
    """A URI's path and options, such as ?endpoint_override=localhost:9000."""
    if "://" not in path:
        return path, ""
    path, mark, options = path.partition("?")
    return path, mark + options


def is_local(filesystem: pafs.FileSystem) -> bool:
    """Whether this is the local file system."""
    return bool(filesystem.type_name == "local")


@contextmanager
def explained(filesystem: pafs.FileSystem, path: str, need: int = 0) -> Iterator[None]:
    """Turns errors about `path` into a StorageError with the fix; need: bytes to write."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path} does not exist; check the path or the bucket's name") from error
    except PermissionError as error:
        raise StorageError(f"{path}: permission denied; check its owner and permissions") from error
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise StorageError(f"{path} is in the way: {first_line(error)}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(_full(filesystem, path, need)) from error
        raise StorageError(_refused(filesystem, path, first_line(error))) from error


def unwritten(path: str | Path, error: Exception) -> StorageError:
    """The StorageError for a file that a library of weights could not write: it tells of full disks in its own
    words."""
    return StorageError(f"cannot write {path}: {first_line(error)}; make room there, or write somewhere else")


_ADVICE = {
    "allow_bucket_creation": "there is no such bucket: check its name, and AWS_ENDPOINT_URL",
    "NO_SUCH_BUCKET": "there is no such bucket: check its name, and AWS_ENDPOINT_URL",
    "ACCESS_DENIED": "the bucket refuses these credentials: check AWS_ACCESS_KEY_ID or the machine's role",
    "INVALID_ACCESS_KEY_ID": "the bucket does not know this key: check AWS_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH": "the secret does not belong to the key: check AWS_SECRET_ACCESS_KEY",
    "NETWORK_CONNECTION": "the bucket's server does not answer: check the network and AWS_ENDPOINT_URL, then "
    "run the command again",
    "HTTP status 5": "the bucket's server fails or asks to slow down: run the command again later",
    "SLOW_DOWN": "the bucket's server asks to slow down: run the command again later",
}
"""Text in the cloud client's message -> the fix."""


def _refused(filesystem: pafs.FileSystem, path: str, reason: str) -> str:
    place = path if is_local(filesystem) or "://" in path else f"{filesystem.type_name}://{path}"
    advice = next((advice for words, advice in _ADVICE.items() if words in reason), None)
    place, reason = address(place), public(reason)
    return f"{place}: {advice} ({reason})" if advice else f"{place}: {reason}"


def make_folder(filesystem: pafs.FileSystem, folder: str) -> None:
    """Create a folder and its parents; StorageError if that fails."""
    with explained(filesystem, folder):
        filesystem.create_dir(folder, recursive=True)


def write_atomic(filesystem: pafs.FileSystem, path: str, data: bytes | pa.Buffer) -> None:
    """Write a file so that a reader sees all of it or nothing, even if the writer is killed or the power fails:
    locally by renaming a temporary file in the same folder, elsewhere as one object. Raises StorageError."""
    with explained(filesystem, path, len(data)):
        if not is_local(filesystem):
            with filesystem.open_output_stream(path) as stream:
                stream.write(data)
            return
        folder, name = split(path)
        temporary = join(folder, f"{TEMPORARY}{uuid.uuid4().hex}-{name}")
        try:
            with open(temporary, "wb") as file:
                file.write(data)
            sync(temporary)
            os.replace(temporary, path)
            sync(folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise


def write_text(path: Location, text: str) -> None:
    """`write_atomic` of a text at a path or URI."""
    write_atomic(*resolve(path), text.encode())


def sync(path: str | Path) -> None:
    """Return when a local file's content, or a folder's names, are on the disk and not in memory only."""
    windows = os.name == "nt"
    if windows and os.path.isdir(path):  # it cannot, and keeps names without it
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exists(filesystem: pafs.FileSystem, path: str) -> bool:
    """Whether a file or folder exists; StorageError for a link that leads nowhere, which is neither."""
    if is_local(filesystem) and os.path.islink(path) and not os.path.exists(path):
        raise StorageError(f"{path} is a link to nothing")
    with explained(filesystem, path):
        return bool(filesystem.get_file_info(path).type.name != "NotFound")


def read_bytes(filesystem: pafs.FileSystem, path: str, most: int | None = None) -> bytes:
    """A file's content; StorageError if it cannot be read, or has more than `most` bytes."""
    if is_local(filesystem) and os.path.exists(path):
        require_plain(path, most)
    with explained(filesystem, path), filesystem.open_input_stream(path) as stream:
        return stream.read()


def read(path: Location, most: int | None = None) -> bytes:
    """A file's content, without pyarrow if it is local. FileNotFoundError if there is none, StorageError for
    anything else that is wrong, and for more than `most` bytes."""
    if "://" in str(path):
        filesystem, inner = resolve(path)
        if not exists(filesystem, inner):
            raise FileNotFoundError(path)
        return read_bytes(filesystem, inner, most)
    local = Path(path).expanduser()
    try:
        require_plain(local, most)
        return local.read_bytes()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name
        raise StorageError(f"{path}: {first_line(error)}") from None


def require_plain(path: str | Path, most: int | None = None) -> None:
    """StorageError for what is there and no plain file (reading a pipe would wait for ever), or has more than
    `most` bytes."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise StorageError(f"{path} is a pipe or a device, not a file")
    if most is not None and found.st_size > most:
        raise StorageError(f"{path} has {megabytes(found.st_size)}, more than such a file can have")


def delete(filesystem: pafs.FileSystem, path: str) -> None:
    """Delete a file, if it exists."""
    with explained(filesystem, path), suppress(FileNotFoundError):
        filesystem.delete_file(path)


def list_files(filesystem: pafs.FileSystem, folder: str) -> dict[str, int]:
    """Name -> bytes of the files directly in a folder, sorted by name; empty if there is no such folder."""
    return {info.base_name: info.size for info in _entries(filesystem, folder) if info.is_file}


def list_folders(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """Names of the folders directly in a folder, sorted; empty if there is no such folder."""
    return [info.base_name for info in _entries(filesystem, folder) if info.type.name == "Directory"]


def _entries(filesystem: pafs.FileSystem, folder: str) -> list[pafs.FileInfo]:
    from pyarrow import fs as pafs

    with explained(filesystem, folder):
        infos = filesystem.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return sorted(infos, key=lambda info: info.base_name)


def remove_temporary(filesystem: pafs.FileSystem, folder: str) -> None:
    """Delete the temporary files of a killed `write_atomic` in a folder."""
    for name in list_files(filesystem, folder):
        if name.startswith(TEMPORARY):
            delete(filesystem, join(folder, name))


def require_space(path: Location, need: int) -> None:
    """Raise StorageError if a local disk has less than `need` bytes free at `path`; URIs are not checked."""
    filesystem, inner = resolve(path)
    if is_local(filesystem) and free(inner) < need:
        raise StorageError(_full(filesystem, inner, need))


def require_memory(path: Location, need: int) -> None:
    """Raise StorageError if what is read from `path` would take more memory than this machine has free."""
    import psutil  # only where whole files of others are read

    if need > (there := psutil.virtual_memory().available):
        raise StorageError(
            f"{path} would take {megabytes(need)} of memory, and {megabytes(there)} are free; cut it into parts, "
            "or save it as LAS or .npy, which are read in chunks"
        )


def free(path: str) -> int:
    """Bytes free at a local path, or at its nearest parent that exists."""
    folder = next(parent for parent in (Path(path), *Path(path).parents) if parent.exists())
    return shutil.disk_usage(folder).free


def _full(filesystem: pafs.FileSystem, path: str, need: int) -> str:
    room = f", {megabytes(free(path))} free" if is_local(filesystem) else ""
    wanted = f"need about {megabytes(need)}" if need else "no space left"
    return f"disk is full: {wanted}{room} at {path}; free some space or write somewhere else"


def megabytes(size: int) -> str:
    """1234567 -> "1.2 MB"; in GB from 10 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e10 else f"{size / 1e6:.1f} MB"
