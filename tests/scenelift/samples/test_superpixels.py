"""Protects superpixels: whole and without gaps, one color each, the same every time, and what frames store."""

from dataclasses import replace

import numpy as np
import pytest

from scenelift.errors import FrameError
from scenelift.samples.frame import with_superpixels
from scenelift.samples.images import decode, decode_numbers, slic
from tests.made.frames import OPTIONS, made_up_frame


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
    assert replace(stored, superpixels=None) == frame
    assert stored.superpixels is not None
    for image, segments in zip(frame.images, stored.superpixels, strict=True):
        assert np.array_equal(decode_numbers(segments), slic(decode(image), 20))


def test_a_broken_image_is_a_bad_frame():
    frame = made_up_frame("frame-00001")
    with pytest.raises(FrameError, match="broken"):
        with_superpixels(replace(frame, images=(frame.images[0][:200], frame.images[1])), 20)
