"""Shared by the adapters: reading a data set's files, with one clear line about what is wrong with them."""

from __future__ import annotations

import io
import json
import math
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError, FrameError, reason
from scenelift.geometry.transforms import Matrix
from scenelift.io.storage import megabytes
from scenelift.samples import images
from scenelift.samples.plausible import FARTHEST, holds_doubles, require_metres

Size = tuple[int, int]
"""(height, width) in pixels."""

_LONGEST_NAME = 500
_LARGEST = 1 << 30
"""Bytes of the largest file that is read as a whole: more than any of these data sets."""


def read_bytes(root: Path, name: str) -> bytes:
    """Content of the file `name` below `root`; FrameError if it is missing, cannot be read, or lies elsewhere."""
    if not 0 < len(name) <= _LONGEST_NAME or "\0" in name:
        raise FrameError(f"{name[:60]!r}{'...' * (len(name) > 60)} is no file's name")
    inside = Path(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise FrameError(f"{name} is not below {root}; a data set names its files relative to its root")
    try:
        path = root / inside
        found = path.stat()
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):  # a pipe would wait for ever
            raise FrameError(f"{name} is not a file")
        if found.st_size > _LARGEST:
            raise FrameError(f"{name} has {megabytes(found.st_size)}, more than such a file can have")
        return path.read_bytes()
    except FileNotFoundError:
        raise FrameError(f"{name} is missing under {root}") from None
    except OSError as error:
        raise FrameError(f"{name} cannot be read: {error.strerror}") from None
    except ValueError as error:  # half a character in the name
        raise FrameError(f"{name!r} is no file's name: {error}") from None


def decode_text(name: str, data: bytes) -> str:
    """Text as people write it: UTF-8, with a byte-order mark or without, with any line ends; lines end in \\n.

    FrameError for other encodings, and for zero bytes.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FrameError(f"{name} is not UTF-8; save it in that encoding") from None
    if "\0" in text:
        raise FrameError(f"{name} is not a text: it has zero bytes, as an interrupted copy may")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """Text of a file outside of the frames, by `decode_text`; DataError if it is missing or cannot be read."""
    try:
        return decode_text(path.name, read_bytes(path.parent, path.name))
    except FrameError as error:
        raise DataError(f"{path}: {error}") from None


def lines(text: str) -> list[str]:
    """The lines that are not blank. str.splitlines would also cut at U+2028 and seven others, within a sentence."""
    return [line for line in text.split("\n") if line.strip()]


def words(text: str) -> list[str]:
    """Words or numbers between blanks, line ends and commas."""
    return [word for word in re.split(r"[\s,]+", text) if word]


def parse_json(name: str, data: bytes) -> Any:
    """A JSON file, with a byte-order mark or without; FrameError for anything else."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "is nested too deep" if isinstance(error, RecursionError) else f"is not JSON: {error}"
        raise FrameError(f"{name} {reason}") from None


def read_json(path: Path) -> Any:
    """A JSON file outside of the frames, by `parse_json`; DataError if it is missing or broken."""
    try:
        return parse_json(path.name, read_bytes(path.parent, path.name))
    except FrameError as error:
        raise DataError(f"{path}: {error}") from None


def parse_npz(name: str, data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, none of Python objects; FrameError for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_sizes(archive)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zip, header and length are checked by different libraries
        raise FrameError(
            f"{name} cannot be read: it is not an npz file of plain arrays ({reason(error)})"
        ) from None


def _require_sizes(archive: zipfile.ZipFile) -> None:
    """ValueError for arrays that would take more memory than any of these data sets, or than the file says."""
    entries = archive.infolist()
    if (total := sum(entry.file_size for entry in entries)) > _LARGEST:
        raise ValueError(f"its arrays would take {megabytes(total)}")
    for entry in entries:
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                header = np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if math.prod(shape) * dtype.itemsize > entry.file_size:
                raise ValueError(f"{entry.filename} is truncated")


def not_hidden(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths that are not hidden: macOS puts `._NAME` beside NAME on other systems' disks."""
    return (path for path in paths if not path.name.startswith("."))


def read_points(root: Path, name: str, width: int, farthest: float = FARTHEST) -> NDArray[np.float32]:
    """[N, width] the points of a file of raw float32 values, x, y, z (metres) first.

    FrameError if it is truncated, empty, of another type, not finite, or has a point beyond `farthest` metres.
    """
    data = read_bytes(root, name)
    if not data or len(data) % (4 * width):
        raise FrameError(
            f"{name} is truncated: {len(data)} bytes are not a whole number of points of {width} float32 values"
        )
    if holds_doubles(data):
        raise FrameError(f"{name} holds float64 values; save it as float32")
    points = np.frombuffer(data, "<f4").reshape(-1, width)
    if len(points) > 1 and (points == points[0]).all():
        raise FrameError(
            f"{name} has one point {len(points):,} times, as an interrupted copy may; copy it again"
        )
    try:
        if not np.isfinite(points).all():
            raise FrameError(f"{name} has points that are not finite")
        require_metres(name, points[:, :3], farthest)
    except FrameError as error:
        if not len(data) % 8 and np.abs(np.frombuffer(data, "<f8")).max() <= max(farthest, 255):
            raise FrameError(f"{name} holds float64 values; save it as float32 ({error})") from None
        raise
    return points


def read_matrix(root: Path, name: str) -> Matrix:
    """[4, 4] from a text file of 16 numbers, which may be inf or nan; FrameError for anything else."""
    try:
        return np.array(words(decode_text(name, read_bytes(root, name))), np.float64).reshape(4, 4)
    except ValueError:
        raise FrameError(f"{name} is not a 4x4 matrix of numbers") from None


def image_size(data: bytes) -> Size:
    """Size of an encoded image from its header alone, FrameError if it has none; `scenelift.samples.images` checks
    that it is complete."""
    return images.header_size(data)


def require_centred(intrinsic: Matrix, size: Size) -> None:
    """ValueError unless the optical axis meets the middle half of the image; otherwise it was resized or cropped.

    In data sets that do not state image sizes, points would otherwise be paired with wrong pixels, unnoticed.
    """
    height, width = size
    u, v = intrinsic[0, 2], intrinsic[1, 2]
    if not (width / 4 < u < 3 * width / 4 and height / 4 < v < 3 * height / 4):
        raise ValueError(
            f"the image is {width}x{height} pixels, but the calibration has its centre at {u:.0f}, {v:.0f}; "
            "use the data set's original images"
        )
