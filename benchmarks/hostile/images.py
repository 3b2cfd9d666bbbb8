"""Ways to break an image."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.hostile.mutations import Change, Mutation, changed


def _saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _image(edit: Callable[[Image.Image], bytes]) -> Change:
    return lambda data: edit(Image.open(io.BytesIO(data)))


def _turned(image: Image.Image) -> bytes:
    tags = image.getexif()
    tags[0x0112] = 6
    return _saved(image.convert("RGB"), "JPEG", exif=tags)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def _large(side: int, full: bool) -> bytes:
    """A gray PNG of side x side pixels: a header alone, or with all of its zeros."""
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    packer, parts = zlib.compressobj(1), []
    if full:
        parts = [packer.compress(bytes(side + 1)) for _ in range(side)]
    return head + _chunk(b"IDAT", b"".join(parts) + packer.flush()) + _chunk(b"IEND", b"")


def _overwritten(data: bytes) -> bytes:
    """A JPEG with an end marker whose pixels' second half is zeros."""
    return data[: len(data) * 2 // 3] + bytes(len(data) // 3 - 2) + b"\xff\xd9"


IMAGES: dict[str, Mutation] = {
    "gray": changed(_image(lambda image: _saved(image.convert("L")))),
    "16 bits": changed(
        _image(lambda image: _saved(Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)))
    ),
    "32 bits": changed(_image(lambda image: _saved(image.convert("F"), "TIFF"))),
    "black and white": changed(_image(lambda image: _saved(image.convert("1")))),
    "a palette": changed(_image(lambda image: _saved(image.convert("P")))),
    "transparent": changed(_image(lambda image: _saved(image.convert("RGBA")))),
    "CMYK": changed(_image(lambda image: _saved(image.convert("CMYK"), "JPEG"))),
    "GIF": changed(_image(lambda image: _saved(image.convert("RGB"), "GIF"))),
    "WebP": changed(_image(lambda image: _saved(image.convert("RGB"), "WEBP"))),
    "PostScript": changed(
        lambda data: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 36\n showpage\n", "lost"
    ),
    "SVG": changed(lambda data: b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="36"/>', "lost"),
    "turned": changed(_image(_turned), "lost"),
    "smaller": changed(_image(lambda image: _saved(image.convert("RGB").resize((20, 20)))), "lost"),
    "one pixel": changed(_image(lambda image: _saved(image.convert("RGB").resize((1, 1)))), "lost"),
    "a bomb": changed(lambda data: _large(30_000, full=True), "lost"),
    "a large header": changed(lambda data: _large(100_000, full=False), "lost"),
    "a longer header": changed(lambda data: _large(2**31 - 1, full=False), "lost"),
    "overwritten": changed(_overwritten),
    "a broken chunk": changed(lambda data: data[:29] + b"\xff" * 4 + data[33:]),
}
