"""Photos with what is drawn over them: projected points, a marked pixel, boxes with scores."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from scenelift.viewer.colors import Color

MARK: Color = (255, 60, 200)
INK: Color = (20, 22, 26)
_FADED = 0.45
"""Brightness that a photo keeps below an overlay."""
_TEXT = 13
"""Height of letters, pixels."""


def overlaid(
    photo: NDArray[np.uint8],
    pixels: NDArray[np.integer],
    colors: NDArray[np.uint8],
    depths: NDArray[np.floating],
) -> NDArray[np.uint8]:
    """A photo [H, W, 3], darker, with a dot for each of M points: pixels [M, 2] (row, column), colors [M, 3]; the
    nearest, by depths [M], are drawn last."""
    height, width = photo.shape[:2]
    scale = max(1, -(-640 // width))  # dots of one pixel of a small photo would be too coarse
    drawn = np.asarray(Image.fromarray(photo).resize((width * scale, height * scale)), np.float32) * _FADED
    order = np.argsort(-depths, kind="stable")
    rows, columns = (np.asarray(pixels, np.int64)[order] * scale + scale // 2).T
    for down in range(scale if scale > 1 else 2):
        for across in range(scale if scale > 1 else 2):
            place = (
                np.minimum(rows + down, height * scale - 1),
                np.minimum(columns + across, width * scale - 1),
            )
            drawn[place] = colors[order]
    return drawn.astype(np.uint8)


def crop(
    photo: NDArray[np.uint8], row: int, column: int, reach: int = 32, size: int = 256
) -> NDArray[np.uint8]:
    """[size, size, 3] the surroundings of a pixel of a photo [H, W, 3], up to `reach` pixels to each side,
    enlarged, with the pixel framed."""
    height, width = photo.shape[:2]
    reach = min(reach, height // 2, width // 2)
    top, left = (
        int(np.clip(middle - reach, 0, max(0, most - 2 * reach - 1)))
        for middle, most in ((row, height), (column, width))
    )
    part = photo[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    enlarged = Image.fromarray(part).resize((size, size), Image.Resampling.NEAREST)
    across, down = size / part.shape[1], size / part.shape[0]
    x, y = (column - left) * across, (row - top) * down
    draw = ImageDraw.Draw(enlarged)
    for grow, color in ((3, INK), (2, MARK), (1, MARK)):
        draw.rectangle((x - grow, y - grow, x + across + grow, y + down + grow), outline=color)
    return np.asarray(enlarged)


def together(
    photos: Sequence[NDArray[np.uint8]], names: Sequence[str], columns: int = 3
) -> NDArray[np.uint8]:
    """Photos of one size in a grid, each with its name; one alone without."""
    if len(photos) == 1:
        return photos[0]
    height, width = photos[0].shape[:2]
    columns = min(columns, len(photos))
    sheet = Image.new("RGB", (columns * width, -(-len(photos) // columns) * height))
    for number, (photo, name) in enumerate(zip(photos, names, strict=True)):
        place = (number % columns) * width, (number // columns) * height
        sheet.paste(Image.fromarray(photo), place)
        _label(ImageDraw.Draw(sheet), place, name, INK, width / 24)
    return np.asarray(sheet)


def boxed(
    photo: NDArray[np.uint8], boxes: Sequence[tuple[Sequence[float], str, Color]], least: int = 900
) -> NDArray[np.uint8]:
    """A photo [H, W, 3] with boxes ((x1, y1, x2, y2) pixels, text, color), the first on top; small photos are
    enlarged to `least` pixels across."""
    height, width = photo.shape[:2]
    scale = max(1.0, least / width)
    image = Image.fromarray(photo).resize((round(width * scale), round(height * scale)))
    draw = ImageDraw.Draw(image)
    for box, text, color in reversed(boxes):
        x1, y1, x2, y2 = (float(side) * scale for side in box)
        draw.rectangle((x1, y1, x2, y2), outline=color, width=3)
        if text:
            _label(draw, (x1, y1), text, color, 14)
    return np.asarray(image)


def jpeg(image: NDArray[np.uint8], quality: int = 85) -> bytes:
    """[H, W, 3] -> JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png(image: NDArray[np.uint8]) -> bytes:
    """[H, W, 3 or 4] -> PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _label(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, color: Color, size: float
) -> None:
    font = ImageFont.load_default(max(_TEXT, size))
    around = draw.textbbox(place, text, font=font)
    draw.rectangle((around[0] - 2, around[1] - 2, around[2] + 2, around[3] + 2), fill=color)
    bright = sum(color) > 380
    draw.text(place, text, font=font, fill=INK if bright else (255, 255, 255))
