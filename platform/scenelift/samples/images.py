"""Encoded images: checked for truncation, resized to the stored size, decoded, and cut into superpixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenelift.errors import FrameError, first_line

Size = tuple[int, int]
"""(height, width) in pixels."""

_START_OF_IMAGE, _START_OF_SCAN, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_END = b"IEND\xaeB`\x82"
_QUALITY = 95
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF", "GIF")
"""Encodings that are read; Pillow's others include page descriptions that it would run a program for."""
_MOST_PIXELS = 80_000_000
"""Largest image: 240 MB decoded, more than any camera's of these data sets."""
_ORIENTATION, _UPRIGHT = 0x0112, (0, 1)
"""EXIF's tag for pixels that are stored turned or mirrored, and its values for those that are not."""

COMPACTNESS = 6.0
"""Weight of spatial against color distance; skimage scales it by segment size, so it has no unit."""
SIGMA = 3.0
"""Standard deviation of the preceding blur, pixels of a `PHOTO`; scaled down for smaller images."""
PHOTO = (900, 1600)
"""(height, width) of the photos that `SIGMA` was chosen for: nuScenes'."""


def fit(data: bytes, native: Size | None, size: Size) -> bytes:
    """The encoded image, resized to (height, width) `size` as JPEG unless it has that size. native: size in the
    data set's tables, None if they have none. Resizing is bilinear with antialiasing and does not keep the
    aspect ratio. Raises FrameError for data that is truncated, not an image, or not of the native size."""
    image = _open(data, native)
    if (image.height, image.width) == size:
        _require_photo(image)
        return data
    buffer = io.BytesIO()
    _resize(image, size).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def header_size(data: bytes) -> Size:
    """(height, width) of an encoded image from its header alone; FrameError if it has none."""
    image = _header(data)
    return image.height, image.width


def decode(data: bytes) -> NDArray[np.uint8]:
    """Encoded bytes -> uint8 [H, W, 3] RGB; FrameError if they are truncated or not an image."""
    if not data.startswith(_START_OF_IMAGE):
        return np.array(_pixels(_open(data)))
    import torch  # seconds, which processes that decode no images can spare
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return decode_jpeg(encoded, mode=ImageReadMode.RGB).permute(1, 2, 0).numpy()
    except RuntimeError:
        raise FrameError("the image is truncated or broken") from None


def encode_numbers(numbers: NDArray[np.integer]) -> bytes:
    """[H, W] integers 0..65535 (superpixels, depths) -> PNG of one channel, 8 bits if they fit."""
    assert numbers.min() >= 0 and numbers.max() < 1 << 16
    small = numbers.max() < 256
    buffer = io.BytesIO()
    Image.fromarray(numbers.astype(np.uint8 if small else np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def decode_numbers(data: bytes) -> NDArray[np.int64]:
    """Inverse of `encode_numbers`; FrameError if the data is truncated or not an image."""
    return np.array(_open(data), np.int64)


def slic(image: NDArray[np.uint8], segments: int) -> NDArray[np.int64]:
    """[H, W, 3] RGB -> [H, W] superpixel of each pixel, 0.. without gaps, `segments` of them or fewer;
    deterministic. Source: SLIC as in SLidR (clip2scene.md 4.5), but on the stored image instead of the 1600x900
    photo."""
    from skimage.segmentation import slic as skimage_slic  # slow, not needed without superpixels

    height, width = image.shape[:2]
    labels = skimage_slic(
        image,
        n_segments=segments,
        compactness=COMPACTNESS,
        sigma=(SIGMA * height / PHOTO[0], SIGMA * width / PHOTO[1]),
        start_label=0,
        channel_axis=-1,
    )
    used = np.bincount(labels.ravel()) > 0
    return (np.cumsum(used) - 1)[labels]


def stored_pixels(pixels: NDArray[np.float64], native: Size, stored: Size) -> NDArray[np.int16]:
    """[M, 2] (u, v) on the native image -> [M, 2] (row, column) of the image stored at another size: the pixel
    that covers the centre of the rounded (half to even) native pixel."""
    rounded = np.rint(pixels[:, ::-1]).astype(np.int64)
    covering = (2 * rounded + 1) * np.array(stored) // (2 * np.array(native))
    return np.clip(covering, 0, np.array(stored) - 1).astype(np.int16)


def _header(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FrameError(f"the image is truncated or not an image: {first_line(error)}") from None


def _open(data: bytes, native: Size | None = None) -> Image.Image:
    """The image, complete and upright; its size is compared before anything is decoded."""
    image = _header(data)
    actual = (image.height, image.width)
    if native is not None and actual != native:
        sizes = [f"{width}x{height}" for height, width in (actual, native)]
        raise FrameError(f"the image is {sizes[0]} pixels, the tables say {sizes[1]}")
    if image.width * image.height > _MOST_PIXELS:
        raise FrameError(f"the image has more than {_MOST_PIXELS // 1_000_000} million pixels; resize it")
    try:
        if image.format == "JPEG":
            # Entropy-coded data cannot contain an end marker, so one after the last scan proves the file complete.
            complete = data.rfind(_END_OF_IMAGE) > data.rfind(_START_OF_SCAN)
        else:
            image.load()
            complete = image.format != "PNG" or _PNG_END in data
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FrameError(f"the image is truncated or not an image: {first_line(error)}") from None
    if not complete:
        raise FrameError("the image is truncated: it has no end marker")
    if (turned := _orientation(image)) not in _UPRIGHT:
        raise FrameError(
            f"the image is stored turned or mirrored (EXIF orientation {turned}), so its pixels are not where it "
            "shows them; save it upright, with its boxes or calibration to match, or without the tag"
        )
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken tag turns nothing, and Pillow raises many types
        return 1


def _require_photo(image: Image.Image) -> None:
    if image.mode in ("I", "F"):
        raise FrameError(f"the image has one channel of 32 bits (mode {image.mode}), not 8; save it as RGB")


def _pixels(image: Image.Image) -> Image.Image:
    _require_photo(image)
    try:
        if image.mode.startswith("I;16"):  # Pillow would make everything above 255 white
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise FrameError(f"the image cannot be decoded: {first_line(error)}") from None


def _resize(image: Image.Image, size: Size) -> Image.Image:
    height, width = size
    # libjpeg decodes at 1/2, 1/4 or 1/8 much faster; the box is the part of that image that the original covers.
    drafted = image.draft("RGB", (width, height)) if image.format == "JPEG" else None
    box = (0, 0, image.width, image.height) if drafted is None else drafted[1]
    return _pixels(image).resize((width, height), Image.Resampling.BILINEAR, box)
