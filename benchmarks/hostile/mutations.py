"""Ways to break any file: whole contents, text, numbers, and what a path may be instead of a file.

`formats` has those of one format. Each way is the same in every run: what is random comes from a seed.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Truth = Literal["lost", "same", "unknown"]
"""What is known of a broken file: its content is `lost`, so that it must not be read as another; it means the
`same`, so that it must be read as the same or refused; or `unknown`: it may mean something else."""
Change = Callable[[bytes], bytes]
BINARY = ("bin", "label", "npz", "png", "jpg", "ply", "safetensors", "pt", "parquet", "hdf5")
"""Endings of files that are no text."""


@dataclass(frozen=True)
class Mutation:
    """One way to break a file."""

    apply: Callable[[Path], None]
    """Changes what is at a path, where the whole file is."""
    truth: Truth = "unknown"


def changed(change: Change, truth: Truth = "unknown") -> Mutation:
    """A mutation of a file's bytes."""
    return Mutation(lambda path: replace(path, change(path.read_bytes())), truth)


def replace(path: Path, data: bytes) -> None:
    """Write a file in the place of another, which is not written through if it is a link."""
    path.unlink()
    path.write_bytes(data)


def _noise(data: bytes) -> bytes:
    return np.random.default_rng(0).bytes(len(data))


def flipped(seed: int, count: int) -> Change:
    """`count` bits of a file become others."""

    def change(data: bytes) -> bytes:
        bits = np.unpackbits(np.frombuffer(data, np.uint8))
        rng = np.random.default_rng([seed, zlib.crc32(data)])
        bits[rng.integers(0, max(1, len(bits)), min(count, len(bits)))] ^= 1
        return np.packbits(bits).tobytes()

    return change


HUGE = (
    b"\x93NUMPY\x01\x00\x76\x00"
    + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,)}".ljust(117)
    + b"\n"
    + bytes(64)
)
"""An array of numpy's whose header says that it has 10^10 numbers."""
WHOLE: dict[str, Mutation] = {
    "empty": changed(lambda data: b"", "lost"),
    "half": changed(lambda data: data[: len(data) // 2]),
    "less a byte": changed(lambda data: data[:-1]),
    "less the first byte": changed(lambda data: data[1:]),
    "a byte more": changed(lambda data: data + b"\0"),
    "zeros": changed(lambda data: bytes(len(data)), "lost"),
    "ones": changed(lambda data: b"\xff" * len(data), "lost"),
    "noise": changed(_noise, "lost"),
    "backwards": changed(lambda data: data[::-1], "lost"),
    "halves swapped": changed(lambda data: data[len(data) // 2 :] + data[: len(data) // 2]),
    "a hole": changed(lambda data: data[: len(data) // 3] + bytes(64) + data[len(data) // 3 + 64 :]),
    "a page": changed(lambda data: b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n", "lost"),
    "a pointer": changed(
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "lost"
    ),
    "twice": changed(lambda data: data + data),
    "compressed": changed(lambda data: zlib.compress(data), "lost"),
    "an array": changed(lambda data: b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}", "lost"),
    "a huge array": changed(lambda data: HUGE, "lost"),
    "a bit": changed(flipped(0, 1)),
    "another bit": changed(flipped(1, 1)),
    "bits": changed(flipped(2, 64)),
}
"""Of any file."""
CUT = ("half", "less a byte", "less the first byte")
"""Of these a binary file is lost, a text may be another one."""


def numbers(new: str, most: int = 0) -> Change:
    """Every number of a text with a point, or a whole one between separators, becomes another; most: 0 for all."""
    pattern = re.compile(rb"-?\d+\.\d+(?:e[-+]?\d+)?|(?<=[ \[:,>\t])\d+(?=[ ,\]<\n\t])")
    return lambda data: pattern.sub(new.encode(), data, count=most)


def _encoded(encoding: str) -> Change:
    return lambda data: data.decode("utf-8", "replace").encode(encoding, "replace")


TEXT: dict[str, Mutation] = {
    "blanks": changed(lambda data: b" \n" * 500, "lost"),
    "a byte-order mark": changed(lambda data: b"\xef\xbb\xbf" + data, "same"),
    "windows": changed(lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), "same"),
    "old mac": changed(lambda data: data.replace(b"\r\n", b"\n").replace(b"\n", b"\r"), "same"),
    "a blank line more": changed(lambda data: data.rstrip(b"\n") + b"\n\n"),
    "latin-1": changed(lambda data: b"caf\xe9\n" + data),
    "latin-1 within": changed(lambda data: data[: len(data) // 2] + b"\xe9" + data[len(data) // 2 :]),
    "utf-16": changed(_encoded("utf-16"), "lost"),
    "utf-32": changed(_encoded("utf-32"), "lost"),
    "a zero byte": changed(lambda data: data[: len(data) // 2] + b"\0" + data[len(data) // 2 :]),
    "a long line": changed(lambda data: b"a" * 3_000_000 + data),
    "many blanks": changed(lambda data: data.replace(b" ", b" " * 200_000, 1)),
    "many brackets": changed(lambda data: b"[" * 100_000 + data),
    "lines backwards": changed(lambda data: b"\n".join(reversed(data.split(b"\n")))),
    "lines twice": changed(lambda data: b"\n".join(line + b"\n" + line for line in data.split(b"\n"))),
    "without the first line": changed(lambda data: data.partition(b"\n")[2]),
    "nan": changed(numbers("nan"), "lost"),
    "one nan": changed(numbers("nan", 1), "lost"),
    "infinite": changed(numbers("1e999"), "lost"),
    "huge": changed(numbers("123456789012345678901234567890"), "lost"),
    "one huge": changed(numbers("3e38", 1), "lost"),
    "digits": changed(numbers("9" * 5000, 1), "lost"),
    "zero": changed(numbers("0")),
    "minus": changed(numbers("-7")),
    "commas": changed(numbers("1,5", 1)),
    "words": changed(numbers('"x"'), "lost"),
    "one word": changed(numbers('"x"', 1), "lost"),
}
"""Of any text."""


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        path.unlink()
        make(path)

    return apply


def _sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(6 << 30)


PLACES: dict[str, Mutation] = {
    "missing": Mutation(_instead(lambda path: None)),
    "a folder": Mutation(_instead(Path.mkdir), "lost"),
    "a pipe": Mutation(_instead(os.mkfifo), "lost"),
    "a link to itself": Mutation(_instead(lambda path: path.symlink_to(path.name)), "lost"),
    "a link to nothing": Mutation(_instead(lambda path: path.symlink_to("nothing")), "lost"),
    "a link to a device": Mutation(_instead(lambda path: path.symlink_to("/dev/zero")), "lost"),
    "a link to a folder": Mutation(_instead(lambda path: path.symlink_to("/usr")), "lost"),
    "six gigabytes": Mutation(_sparse, "lost"),
}
"""What may be at a path instead of a file."""
