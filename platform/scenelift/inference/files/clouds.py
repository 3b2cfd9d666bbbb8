"""Point clouds in plain files, read in chunks: KITTI's and nuScenes' .bin, NumPy, PLY, PCD, LAS and LAZ, E57."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenelift.errors import DataError, SceneliftError, StorageError, reason
from scenelift.io import storage
from scenelift.io.ply import read_vertices
from scenelift.samples.plausible import holds_doubles

CHUNK = 1_000_000
"""Points that are read at a time where a format allows for it."""
INTENSITY = ("intensity", "reflectance", "remission", "reflectivity", "scalar_intensity", "i")
"""Names of the column with the strength of the return, in lower case."""
LABELS = ("_lidarseg.bin", "_panoptic.npz")
"""Endings of nuScenes' labels, which lie below the folder of its scans and are none."""
ABOUT = "predict.json"
"""What marks a folder of labels, which are no scans."""
COLORS = ("red", "green", "blue")
_LOOKED_AT = 80_000
"""Values of a raw file from which its layout is told."""
_ENOUGH = 200
"""Values below which it cannot be told."""
_FAR = 1e6
"""Larger numbers are of another type; as they are, they would decide the layout alone."""
_MISSING = "{}: the reader of {} files is not installed; run: pip install {}"


@dataclass(frozen=True)
class Chunk:
    """Some consecutive points of a cloud."""

    points: NDArray[np.floating]
    """[n, 3] metres, float64 where the file has more than float32 can hold."""
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Name, in lower case -> [n] whatever else the file knows of each point."""


@dataclass(frozen=True)
class CloudFile:
    """One file with a point cloud."""

    path: Path
    name: str
    """Where it lies below the folder that was given, without its ending."""
    width: int | None = None
    """Values of a point in a raw .bin; None: 4 as KITTI has it or 5 as nuScenes, whichever it must be."""

    def chunks(self) -> Iterator[Chunk]:
        """The points in their order; DataError, naming the file, if it cannot be read."""
        try:
            storage.require_plain(self.path)
            yield from READERS[_ending(self.path)](self)
        except StorageError as error:  # too large, or a pipe: it is this file's fault alone
            raise DataError(str(error)) from None
        except SceneliftError:
            raise
        except ImportError as error:
            raise DataError(f"{self.path}: {error}") from None
        except Exception as error:  # each format's library raises its own
            raise DataError(f"{self.path} cannot be read: {reason(error)}") from None


def find_clouds(place: str | Path, width: int | None = None) -> list[CloudFile]:
    """The cloud of a file, or those below a folder, by name; DataError if there are none. width: of .bin files."""
    path = Path(place).expanduser()
    if path.is_file():
        if _ending(path) not in READERS:
            raise DataError(f"{path} is no point cloud: known are {', '.join(READERS)}")
        return [CloudFile(path, path.name[: -len(_ending(path))], width)]
    made = {each.parent for each in path.rglob(ABOUT)} - {path}  # unless it is what is asked for
    found = [
        CloudFile(each, each.relative_to(path).as_posix()[: -len(_ending(each))], width)
        for each in sorted(path.rglob("*"))
        if _ending(each) in READERS and not each.name.startswith(".") and each.is_file()
        if made.isdisjoint(each.parents) and not each.name.endswith(LABELS)
    ]
    if not found:
        raise DataError(f"{path} has no point clouds: known are {', '.join(READERS)}, and folders of shards")
    names = [cloud.name for cloud in found]
    if (
        double := next((name for name in names if names.count(name) > 1), None)
        if len(names) < 10_000
        else None
    ):
        raise DataError(f"{path} has {double} in two formats; give a folder with one of them")
    return found


def features_of(chunk: Chunk, count: int, wanted: tuple[str, ...] | None, name: str) -> NDArray[np.float32]:
    """[n, count] features of points. wanted: their columns; None: the intensity, the colors, or all there are.

    DataError, with the columns that there are, if they are not `count`.
    """
    names = wanted if wanted is not None else _guessed(chunk, count)
    known = ", ".join(chunk.columns) or "none beside x, y, z"
    if wanted == ("zeros",):
        return np.zeros((len(chunk.points), count), np.float32)
    if missing := next((each for each in names if each.lower() not in chunk.columns), None):
        raise DataError(f"{name} has no column {missing}; its columns: {known}")
    if len(names) != count:
        raise DataError(
            f"the student wants {count} features a point, and {name} has the columns {known}; choose with "
            "--input.columns NAME ..., or write --input.columns zeros, which labels less well"
        )
    columns = [chunk.columns[each.lower()].astype(np.float32) for each in names]
    return np.stack(columns, 1) if columns else np.zeros((len(chunk.points), 0), np.float32)


def _guessed(chunk: Chunk, count: int) -> tuple[str, ...]:
    if count == 1 and (found := next((name for name in INTENSITY if name in chunk.columns), None)):
        return (found,)
    if count == len(COLORS) and all(name in chunk.columns for name in COLORS):
        return COLORS
    return tuple(chunk.columns) if len(chunk.columns) == count else ()


def _ending(path: Path) -> str:
    """The ending that decides the format, such as .bin, or .pcd.bin of nuScenes."""
    lower = path.name.lower()
    return ".pcd.bin" if lower.endswith(".pcd.bin") else path.suffix.lower()


def _raw(cloud: CloudFile) -> Iterator[Chunk]:
    size = cloud.path.stat().st_size
    with cloud.path.open("rb") as file:
        if holds_doubles(file.read(min(size, 1 << 20))):
            raise DataError(f"{cloud.path} holds float64 values; save it as float32")
    width = cloud.width or (5 if _ending(cloud.path) == ".pcd.bin" else _width(cloud.path, size))
    if size % (4 * width):
        raise DataError(
            f"{cloud.path} is truncated, or of another layout: {size} bytes are not a whole number of points of "
            f"{width} float32 values; write --input.values N"
        )
    if not size:
        yield _table(np.zeros((0, width), np.float32))
        return
    rows = np.memmap(cloud.path, "<f4", "r").reshape(-1, width)
    for start in range(0, len(rows), CHUNK):
        yield _table(np.array(rows[start : start + CHUNK]))


def _width(path: Path, size: int) -> int:
    """Values of a point of a raw file, which are 4 or 5: a column resembles itself, and no other.

    DataError if it looks like another number. At the right distance values differ least, also where points are in
    no order: of the real scans of nuScenes, SemanticKITTI and ScanNet (6 values) by 17 to 90 % less than at others.
    """
    values = np.fromfile(path, "<f4", _LOOKED_AT)
    values = np.clip(values[np.isfinite(values)], -_FAR, _FAR)
    fits = [width for width in range(3, 9) if size % (4 * width) == 0]
    if not fits or not size:
        return 4
    if len(values) < _ENOUGH:
        fits = [width for width in fits if width in (4, 5)]
        if len(fits) == 1:
            return fits[0]
        raise DataError(f"{path} does not tell how many values a point has; write it: --input.values 4")
    differences = {width: np.log1p(np.abs(values[width:] - values[:-width])).mean() for width in fits}
    likely = min(width for width in fits if differences[width] <= 1.05 * min(differences.values()))
    if likely not in (4, 5):
        raise DataError(
            f"{path} looks as if a point had {likely} values, and KITTI has 4, nuScenes 5; write what it has: "
            f"--input.values {likely}"
        )
    return likely


def _table(rows: NDArray[Any]) -> Chunk:
    """Rows of x, y, z, intensity, and what follows; six columns are points with colors."""
    names = ["intensity", "ring", *(f"column_{i}" for i in range(5, rows.shape[1]))]
    names = list(COLORS) if rows.shape[1] == 6 else names
    return Chunk(rows[:, :3], dict(zip(names, rows[:, 3:].T, strict=False)))


def _npy(cloud: CloudFile) -> Iterator[Chunk]:
    yield from _array(np.load(cloud.path, mmap_mode="r", allow_pickle=False), cloud.path)


def _npz(cloud: CloudFile) -> Iterator[Chunk]:
    with zipfile.ZipFile(cloud.path) as archive:
        large = sum(entry.file_size for entry in archive.infolist())
        storage.require_memory(cloud.path, large)
    with np.load(cloud.path, allow_pickle=False) as file:
        arrays = {name.lower(): file[name] for name in file.files}
    key = next((name for name in ("points", "xyz", "coord", "data") if name in arrays), None)
    clouds = [name for name, array in arrays.items() if array.ndim == 2 and array.shape[1] >= 3]
    key = key or (clouds[0] if len(clouds) == 1 else None)
    if key is None:
        raise DataError(f"{cloud.path} has no array points [N, 3]; it has {', '.join(arrays) or 'none'}")
    (chunk,) = _array(arrays[key], cloud.path, whole=True)
    others = {
        name: array
        for name, array in arrays.items()
        if name != key and array.shape[:1] == (len(chunk.points),)
    }
    columns = dict(chunk.columns)
    for name, array in others.items():
        flat = array.reshape(len(array), -1) if array.dtype.kind in "fiub" else array[:, None][:, :0]
        columns |= {name if flat.shape[1] == 1 else f"{name}_{i}": part for i, part in enumerate(flat.T)}
    yield Chunk(chunk.points, columns)


def _array(rows: NDArray[Any], path: Path, whole: bool = False) -> Iterator[Chunk]:
    if rows.dtype.names:
        yield _record(rows, path)
        return
    if rows.ndim != 2 or rows.shape[1] < 3 or rows.dtype.kind not in "fiu":
        raise DataError(
            f"{path} has {rows.dtype} of the shape {list(rows.shape)}; wanted is [N, 3] or more columns"
        )
    step = len(rows) if whole else CHUNK
    for start in range(0, max(len(rows), 1), max(step, 1)):
        yield _table(np.array(rows[start : start + step]))


def _record(rows: NDArray[Any], path: Path) -> Chunk:
    """Of an array of named fields."""
    fields = {name.lower(): rows[name] for name in rows.dtype.names or ()}
    if not {"x", "y", "z"} <= fields.keys():
        raise DataError(f"{path} has points without x, y, z; it has {', '.join(fields)}")
    points = np.stack([fields.pop(axis) for axis in "xyz"], 1)
    if points.dtype.kind != "f":
        points = points.astype(np.float64)
    return Chunk(points, {name: values for name, values in fields.items() if values.ndim == 1})


def _ply(cloud: CloudFile) -> Iterator[Chunk]:
    storage.require_memory(cloud.path, 2 * cloud.path.stat().st_size)
    yield _record(read_vertices(str(cloud.path), cloud.path.read_bytes()), cloud.path)


def _pcd(cloud: CloudFile) -> Iterator[Chunk]:
    from pypcd4 import PointCloud  # imports pydantic

    storage.require_memory(cloud.path, 4 * cloud.path.stat().st_size)
    read = PointCloud.from_path(cloud.path)
    chunk = _record(read.pc_data, cloud.path)
    columns = dict(chunk.columns)
    if "rgb" in columns:
        decoded = PointCloud.decode_rgb(columns.pop("rgb").astype(np.float32))
        columns |= dict(zip(COLORS, decoded.T, strict=True))
    yield Chunk(chunk.points, columns)


def _las(cloud: CloudFile) -> Iterator[Chunk]:
    try:
        import laspy
    except ImportError:
        raise DataError(_MISSING.format(cloud.path, "LAS", "'laspy[lazrs]'")) from None

    with laspy.open(cloud.path) as reader:
        for part in reader.chunk_iterator(CHUNK):
            points = np.stack([np.asarray(getattr(part, axis)) for axis in "xyz"], 1)
            names = [name for name in part.point_format.dimension_names if name not in ("X", "Y", "Z")]
            columns = {name.lower(): np.asarray(part[name]) for name in names}
            yield Chunk(points, {name: values for name, values in columns.items() if values.ndim == 1})
        if not reader.header.point_count:
            yield Chunk(np.zeros((0, 3)))


def _e57(cloud: CloudFile) -> Iterator[Chunk]:
    try:
        import pye57
    except ImportError:
        raise DataError(_MISSING.format(cloud.path, "E57", "pye57")) from None

    file = pye57.E57(str(cloud.path))
    try:
        for index in range(file.scan_count):
            scan = file.read_scan(index, ignore_missing_fields=True, intensity=True, colors=True)
            points = np.stack([scan.pop(f"cartesian{axis}") for axis in "XYZ"], 1).astype(np.float64)
            yield Chunk(points, {name.lower().removeprefix("color"): values for name, values in scan.items()})
    finally:
        file.close()


READERS: dict[str, Callable[[CloudFile], Iterator[Chunk]]] = {
    ".bin": _raw,
    ".pcd.bin": _raw,
    ".npy": _npy,
    ".npz": _npz,
    ".ply": _ply,
    ".pcd": _pcd,
    ".las": _las,
    ".laz": _las,
    ".e57": _e57,
}
"""Ending -> its reader."""
