"""Protects the row format of frames: what is written to a shard comes back, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from scenelift.samples.frame import FRAME, Frame
from scenelift.shards.rows import to_samples
from tests.made.frames import OPTIONS, made_up_frame

FULL = made_up_frame("frame-00003")
NO_LABELS = dataclasses.replace(FULL, labels=None)
NO_PAIRS = dataclasses.replace(
    FULL, pair_points=np.empty(0, np.int32), pair_pixels=np.empty((0, 3), np.int16)
)
NO_POINTS = dataclasses.replace(
    NO_PAIRS,
    points=np.empty((0, 3), np.float32),
    features=np.empty((0, 1), np.float32),
    sweep=np.empty(0, np.uint8),
    labels=np.empty(0, np.uint8),
)
WIDE = dataclasses.replace(
    FULL, features=np.random.default_rng(0).normal(size=(len(FULL.points), 3)).astype("f4")
)
NO_CAMERAS = dataclasses.replace(NO_PAIRS, cameras=(), images=())
ALL = [FULL, NO_LABELS, NO_PAIRS, NO_POINTS, WIDE, NO_CAMERAS]


def assert_same(left: Frame, right: Frame) -> None:
    for field in dataclasses.fields(Frame):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert b is not None and a.dtype == b.dtype and a.shape == b.shape, field.name
            np.testing.assert_array_equal(a, b, field.name)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("frame", ALL)
def test_row_round_trip_through_arrow(frame: Frame) -> None:
    table = pa.Table.from_pylist([FRAME.to_row(frame)], schema=FRAME.schema)
    assert_same(frame, FRAME.from_row(table.to_pylist()[0]))


def test_tables_of_several_chunks_become_frames_in_order() -> None:
    tables = [pa.Table.from_pylist([FRAME.to_row(frame)], schema=FRAME.schema) for frame in ALL]
    for frame, back in zip(ALL, to_samples(pa.concat_tables(tables), FRAME), strict=True):
        assert_same(frame, back)


def test_arrays_of_a_row_are_not_writable() -> None:
    """They are views of memory that other processes read."""
    with pytest.raises(ValueError, match="read-only"):
        FRAME.from_row(FRAME.to_row(FULL)).points[0] = 0


def test_points_that_no_camera_sees() -> None:
    seen = FULL.seen
    assert set(np.flatnonzero(seen)) == set(FULL.pair_points.tolist()) and 0 < seen.sum() < len(seen)


def test_keyframe_points_are_those_of_sweep_zero() -> None:
    frame = made_up_frame("frame-00002", dataclasses.replace(OPTIONS, lidar_sweeps=2))
    assert frame.keyframe.sum() == (frame.sweep == 0).sum() < len(frame.sweep)
