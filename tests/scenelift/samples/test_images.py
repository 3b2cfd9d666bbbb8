"""Protects the stored images: untouched when they fit, resized without a shift, refused when not whole."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scenelift.errors import FrameError
from scenelift.samples.frame import with_superpixels
from scenelift.samples.images import decode, decode_numbers, fit, slic, stored_pixels
from tests.made.frames import OPTIONS, made_up_frame

NATIVE, SIZE = (90, 160), (56, 104)


def _picture(height: int, width: int) -> np.ndarray:
    """Smooth colors that say where a pixel is: red the column, green the row."""
    rows, columns = np.mgrid[:height, :width]
    red, green = 255 * (columns + 0.5) / width, 255 * (rows + 0.5) / height
    return np.stack([red, green, 128 + 0 * red], -1).round().astype(np.uint8)


def _encode(pixels: np.ndarray, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **({"quality": 95} if form == "JPEG" else {}) | options)
    return buffer.getvalue()


JPEG, PNG = _encode(_picture(*NATIVE)), _encode(_picture(*NATIVE), "PNG")


@pytest.mark.parametrize("data", [JPEG, PNG], ids=["jpeg", "png"])
def test_an_image_of_the_right_size_stays_untouched(data):
    assert fit(data, NATIVE, NATIVE) is data
    assert fit(data, None, NATIVE) is data


@pytest.mark.parametrize("native", [NATIVE, (375, 1242), (900, 1600), (40, 60)])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_resizing_moves_nothing(native, form):
    """The colors say the place: a shift by one stored pixel would be 2.5 levels in red, 4.6 in green."""
    stored = fit(_encode(_picture(*native), form), native, SIZE)
    assert stored.startswith(b"\xff\xd8")
    error = decode(stored)[3:-3, 3:-3].astype(float) - _picture(*SIZE)[3:-3, 3:-3]
    assert np.abs(error.mean((0, 1))).max() < 1
    assert np.abs(error).max() < 6


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_resizing_is_antialiased(form):
    """A fine checkerboard becomes grey; picking pixels would leave black and white ones."""
    board = np.indices((400, 800)).sum(0)[..., None].repeat(3, -1) % 2 * 255
    stored = decode(fit(_encode(board.astype(np.uint8), form), None, (56, 104)))
    assert np.abs(stored.astype(int) - 127).max() < 12


def test_resizing_twice_gives_the_same_bytes():
    assert fit(JPEG, NATIVE, SIZE) == fit(bytes(JPEG), NATIVE, SIZE)


def test_an_image_of_another_size_than_the_tables_say_is_refused():
    with pytest.raises(FrameError, match="160x90 pixels, the tables say 161x90"):
        fit(JPEG, (90, 161), SIZE)


@pytest.mark.parametrize("size", [NATIVE, SIZE], ids=["untouched", "resized"])
@pytest.mark.parametrize(
    "data", [JPEG, PNG, _encode(_picture(*NATIVE), progressive=True)], ids=["jpeg", "png", "progressive"]
)
def test_a_truncated_image_is_refused_wherever_it_was_cut(data, size):
    for cut in [0, 1, 10, 200, len(data) // 2, len(data) - 30, len(data) - 2]:
        for tail in (b"", bytes(len(data) - cut)):
            with pytest.raises(FrameError, match="truncated"):
                fit(data[:cut] + tail, NATIVE, size)
            with pytest.raises(FrameError):
                decode(data[:cut] + tail)


def test_the_end_of_a_thumbnail_does_not_pass_for_the_end_of_the_image():
    thumbnail = _encode(_picture(16, 16))
    application = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = JPEG[:2] + application + JPEG[2:]
    assert fit(data, NATIVE, NATIVE) is data
    for cut in (len(application) + 2, len(application) + 300, len(data) - 50):
        with pytest.raises(FrameError, match="truncated"):
            fit(data[:cut], NATIVE, NATIVE)


def test_padding_after_the_end_is_no_mistake():
    data = JPEG + bytes(7)
    assert fit(data, NATIVE, NATIVE) is data


def test_what_is_no_image_is_refused():
    for data in (b"", b"no image at all", b"\xff\xd8 but no more"):
        with pytest.raises(FrameError, match="truncated or not an image"):
            fit(data, None, SIZE)
        with pytest.raises(FrameError):
            decode(data)


def test_decode_gives_rgb_whatever_the_encoding():
    assert np.array_equal(decode(PNG), _picture(*NATIVE))
    close = np.abs(decode(JPEG).astype(int) - np.asarray(Image.open(io.BytesIO(JPEG)), int))
    assert close.max() <= 3
    grey = np.full((20, 30), 77, np.uint8)
    for form in ("JPEG", "PNG"):
        pixels = decode(_encode(grey, form))
        assert pixels.shape == (20, 30, 3) and pixels.dtype == np.uint8 and (pixels == 77).all()


def test_stored_pixels_are_the_rounded_ones_where_nothing_is_resized():
    pixels = np.array([[0.5, 1.5], [2.5, 3.49], [158.6, 88.5]])
    assert stored_pixels(pixels, NATIVE, NATIVE).tolist() == [[2, 0], [3, 2], [88, 159]]
    assert stored_pixels(pixels, NATIVE, NATIVE).dtype == np.int16


@pytest.mark.parametrize("stored", [SIZE, (224, 416), (7, 3)])
def test_stored_pixels_cover_the_centre_of_the_native_pixel(stored):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, [NATIVE[1] - 1, NATIVE[0] - 1], (500, 2))
    for (u, v), got in zip(pixels, stored_pixels(pixels, NATIVE, stored), strict=True):
        expected = [(round(v) + 0.5) * stored[0] / NATIVE[0], (round(u) + 0.5) * stored[1] / NATIVE[1]]
        assert got.tolist() == [int(expected[0]), int(expected[1])]


def test_a_pair_keeps_its_color_through_resizing():
    """Spec check 4: the stored pixel shows what the native pixel showed."""
    pixels = np.random.default_rng(1).uniform(2, [157, 87], (300, 2))
    rows, columns = stored_pixels(pixels, NATIVE, SIZE).T
    native_color = _picture(*NATIVE)[pixels[:, 1].round().astype(int), pixels[:, 0].round().astype(int)]
    stored_color = decode(fit(JPEG, NATIVE, SIZE))[rows, columns]
    assert np.abs(native_color.astype(int) - stored_color).max() <= 6


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(112, 192), (33, 50), (8, 12), (1, 1)])
@pytest.mark.parametrize("segments", [1, 30, 150])
def test_numbers_start_at_zero_and_have_no_gaps(size, segments):
    for image in (noise(*size), np.full((*size, 3), 90, np.uint8)):
        found = slic(image, segments)
        assert found.shape == size and found.dtype == np.int64
        assert np.unique(found).tolist() == list(range(found.max() + 1))
        assert found.max() + 1 <= max(1.5 * segments, 1)
        assert np.array_equal(found, slic(image, segments))


def test_a_superpixel_has_one_color():
    """Three flat fields whose edges are on no grid: superpixels follow them, but for blurred pixels."""
    rows, columns = np.mgrid[:112, :192]
    field = np.where(columns + rows // 3 < 71, 0, np.where(rows < 37, 1, 2))
    image = np.array([[200, 30, 30], [30, 180, 40], [40, 40, 190]], np.uint8)[field]
    found = slic(image, 100)
    assert found.max() > 40
    assert pure(found, field) > 0.995
    assert pure(rows // 11 * 100 + columns // 19, field) < 0.97, "plain squares would not pass"


def pure(segments: np.ndarray, field: np.ndarray) -> float:
    """Share of the pixels that lie in the field where most of their segment lies."""
    counts = np.zeros((segments.max() + 1, 3), int)
    np.add.at(counts, (segments, field), 1)
    return counts.max(1).sum() / counts.sum()


def test_frames_store_those_of_each_image():
    frame = made_up_frame("frame-00001", replace(OPTIONS, image_size=(30, 40)))
    stored = with_superpixels(frame, 20)
    assert vars(replace(stored, superpixels=None)) == vars(frame)
    assert stored.superpixels is not None
    for image, segments in zip(frame.images, stored.superpixels, strict=True):
        assert np.array_equal(decode_numbers(segments), slic(decode(image), 20))


def test_a_broken_image_is_a_bad_frame():
    frame = made_up_frame("frame-00001")
    with pytest.raises(FrameError, match="broken"):
        with_superpixels(replace(frame, images=(frame.images[0][:200], frame.images[1])), 20)
