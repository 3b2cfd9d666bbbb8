"""Ways to break arrays: `.npz` files, raw points and labels, HDF5."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.hostile.mutations import HUGE, Change, Mutation, changed


def arrays(edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """A change of an .npz file's arrays."""

    def change(data: bytes) -> bytes:
        with np.load(io.BytesIO(data)) as file:
            content = {key: file[key] for key in file.files}
        buffer = io.BytesIO()
        np.savez(buffer, **edit(content))
        return buffer.getvalue()

    return change


def _each(edit: Callable[[Any], Any], number: int) -> Change:
    def all_of(content: dict[str, Any]) -> dict[str, Any]:
        name = list(content)[number % len(content)]
        new = edit(content[name])
        return {key: value for key, value in {**content, name: new}.items() if value is not None}

    return arrays(all_of)


def _first(value: float) -> Callable[[Any], Any]:
    def edit(array: Any) -> Any:
        wide = np.array(array, np.float64)
        wide.reshape(-1)[:1] = value
        return wide

    return edit


_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "missing": lambda array: None,
    "text": lambda array: np.full(array.shape, "x"),
    "numbers as text": lambda array: array.astype(str),
    "complex": lambda array: array + 1j,
    "yes and no": lambda array: array.astype(bool),
    "bytes": lambda array: array.astype(np.uint8),
    "flat": lambda array: array.ravel(),
    "turned": lambda array: array.T,
    "a dimension more": lambda array: array[None],
    "a number": lambda array: np.array(5),
    "no rows": lambda array: array[:0] if array.ndim else np.empty(0),
    "a row less": lambda array: array[:-1] if array.ndim else np.empty(0),
    "nan": lambda array: np.full(array.shape, np.nan),
    "one nan": _first(np.nan),
    "one infinite": _first(np.inf),
    "one huge": _first(1e30),
    "10^30 times": lambda array: array.astype(np.float64) * 1e30,
    "negative": lambda array: -array.astype(np.float64) - 1,
    "zeros": lambda array: np.zeros_like(array),
    "in thousandths": lambda array: array.astype(np.float64) * 1000,
}
_LOST_ARRAYS = ("nan", "one nan", "one infinite", "one huge", "10^30 times", "text", "complex")


def _bomb(data: bytes) -> bytes:
    """A zip of which every array unpacks to 3 GB."""
    header = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000,)}".ljust(117)
        + b"\n"
    )
    buffer = io.BytesIO()
    with (
        np.load(io.BytesIO(data)) as file,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name in file.files[:1]:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                entry.write(header)
                for _ in range(300):
                    entry.write(bytes(10_000_000))
    return buffer.getvalue()


def _pickled(data: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, boxes=np.array([{"a": 1}], object), bbox=np.array([{"a": 1}], object))
    return buffer.getvalue()


def _short(data: bytes) -> bytes:
    """An array whose header says that it has 10^10 numbers."""
    buffer = io.BytesIO()
    with np.load(io.BytesIO(data)) as file, zipfile.ZipFile(buffer, "w") as archive:
        for name in file.files:
            archive.writestr(f"{name}.npy", HUGE)
    return buffer.getvalue()


ARRAYS: dict[str, Mutation] = {
    "huge arrays": changed(_short, "lost"),
    "a bomb": changed(_bomb, "lost"),
    "objects": changed(_pickled, "lost"),
    "no arrays": changed(arrays(lambda content: {}), "lost"),
    **{
        f"array {number} {name}": changed(_each(edit, number), "lost" if name in _LOST_ARRAYS else "unknown")
        for number in range(5)
        for name, edit in _ARRAYS.items()
    },
}


def _floats(edit: Callable[[Any], Any]) -> Change:
    return lambda data: edit(np.frombuffer(data, "<f4").copy()).tobytes()


def _set(index: int, value: float) -> Change:
    def edit(values: Any) -> Any:
        values[index % max(1, len(values))] = value
        return values

    return _floats(edit)


POINTS: dict[str, Mutation] = {
    "nan": changed(_set(0, np.nan), "lost"),
    "last nan": changed(_set(-1, np.nan), "lost"),
    "infinite": changed(_set(1, np.inf), "lost"),
    "far": changed(_set(0, 3e8), "lost"),
    "farthest": changed(_set(1, -3e38), "lost"),
    "below": changed(_set(2, -2e5), "lost"),
    "last far": changed(_set(-1, 1e20), "lost"),
    "double": changed(_floats(lambda values: values.astype("<f8")), "lost"),
    "double, odd": changed(_floats(lambda values: values.astype("<f8") * 1.1), "lost"),
    "half": changed(_floats(lambda values: values.astype("<f2")), "lost"),
    "big endian": changed(_floats(lambda values: values.astype(">f4")), "lost"),
    "whole numbers": changed(_floats(lambda values: values.astype("<i4")), "lost"),
    "in millimetres": changed(_floats(lambda values: values * 1000), "lost"),
    "a value less": changed(_floats(lambda values: values[:-1]), "lost"),
    "a value less in front": changed(_floats(lambda values: values[1:]), "lost"),
    "a column less": changed(_floats(lambda values: np.delete(values, np.arange(3, len(values), 5)))),
    "255 times": changed(_floats(lambda values: values * 255), "lost"),
}
LABELS: dict[str, Mutation] = {
    "beyond": changed(lambda data: b"\xfe" * len(data), "lost"),
    "one beyond": changed(lambda data: b"\xfe\xfe" + data[2:], "lost"),
    "a label less": changed(lambda data: data[:-4], "lost"),
    "16 bits": changed(lambda data: np.frombuffer(data, np.uint8).astype("<u2").tobytes(), "lost"),
}


def _hdf5(edit: Callable[[Any, Any], object]) -> Change:
    """A change of an HDF5 file: edit takes the file without its data set 1.jpg, and that set's rows."""

    def change(data: bytes) -> bytes:
        import h5py

        buffer = io.BytesIO(data)
        with h5py.File(buffer, "r+") as file:
            rows = file["1.jpg"][()]
            del file["1.jpg"]
            edit(file, rows)
        return buffer.getvalue()

    return change


def _linked(kind: str, *target: str) -> Change:
    import h5py

    return _hdf5(lambda file, rows: file.__setitem__("1.jpg", getattr(h5py, kind)(*target)))


def _kept(new: Callable[[Any], Any]) -> Change:
    return _hdf5(lambda file, rows: file.__setitem__("1.jpg", new(rows)))


HDF5: dict[str, Mutation] = {
    "a circle": changed(_linked("SoftLink", "/1.jpg"), "lost"),
    "a link to nothing within": changed(_linked("SoftLink", "/2.jpg"), "lost"),
    "a link to another file": changed(_linked("ExternalLink", "/etc/passwd", "/a"), "lost"),
    "another file's bytes": changed(
        _hdf5(
            lambda file, rows: file.create_dataset(
                "1.jpg", rows.shape, "<f4", external=[("/etc/passwd", 0, rows.nbytes)]
            )
        ),
        "lost",
    ),
    "a group": changed(_hdf5(lambda file, rows: file.create_group("1.jpg")), "lost"),
    "10^9 rows": changed(
        _hdf5(lambda file, rows: file.create_dataset("1.jpg", (10**9, rows.shape[1]), "<f4", chunks=(64, 4))),
        "lost",
    ),
    "text": changed(_kept(lambda rows: "text"), "lost"),
    "nothing": changed(_hdf5(lambda file, rows: None), "lost"),
    "one number": changed(_kept(lambda rows: 5.0), "lost"),
    "a column less": changed(_kept(lambda rows: rows[:, 1:]), "lost"),
    "a column more": changed(_kept(lambda rows: np.insert(rows, 0, 1, 1)), "lost"),
    "turned": changed(_kept(lambda rows: rows.T), "lost"),
    "flat": changed(_kept(lambda rows: rows.ravel()), "lost"),
    "no rows": changed(_kept(lambda rows: rows[:0]), "lost"),
    "zeros": changed(_kept(lambda rows: rows * 0), "lost"),
    "nan": changed(_kept(lambda rows: rows * np.nan), "lost"),
    "10^30 times": changed(_kept(lambda rows: rows * 1e30), "lost"),
    "shares": changed(_kept(lambda rows: np.concatenate([rows[:, :-4], rows[:, -4:] / 100], 1)), "lost"),
    "complex": changed(_kept(lambda rows: rows + 1j), "lost"),
    "whole numbers": changed(_kept(lambda rows: rows.astype(int))),
    "double": changed(_kept(lambda rows: rows.astype(float)), "same"),
}
