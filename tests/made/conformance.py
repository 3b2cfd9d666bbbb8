"""What shards, batches and training rely on in any data set: one function that every adapter is run through."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from scenelift.errors import DataError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, Frame, Source
from scenelift.samples.images import decode

_SOURCE_BYTES, _KEYFRAME_BYTES = 1 << 20, 1 << 16
"""What a pickled source and a pickled keyframe may take: every reading process gets one, and all of them."""


def check_source(source: Source, split: str | None, options: ReadOptions, at_most: int = 4) -> list[Frame]:
    """Assert that a source is what `samples.frame.Source` says, on up to `at_most` frames spread over the split.

    Returns the frames, for what only its own tests can know of them: which point is which pixel.
    """
    keyframes = _check_listing(source, split)
    _check_unknown_split(source)
    data = pickle.dumps(source)
    assert len(data) <= _SOURCE_BYTES, f"the source takes {len(data)} bytes pickled; let it hold no tables"
    elsewhere = pickle.loads(data)
    chosen = sorted({round(place) for place in np.linspace(0, len(keyframes) - 1, at_most)})
    frames = [_check_reading(source, elsewhere, keyframes[number], options) for number in chosen]
    widths = {frame.features.shape[1] for frame in frames}
    assert len(widths) == 1 and widths != {0}, f"all frames have the same number of features, not {widths}"
    return frames


def _check_listing(source: Source, split: str | None) -> list[Any]:
    assert source.name and source.version, "name and version are in every manifest"
    keyframes = source.list_samples(split)
    assert keyframes, "a split without keyframes must be a DataError"
    tokens = [keyframe.token for keyframe in keyframes]
    assert all(isinstance(token, str) and token for token in tokens), "tokens are words"
    assert len(set(tokens)) == len(tokens), "tokens are unique"
    assert [keyframe.token for keyframe in source.list_samples(split)] == tokens, (
        "the order is always the same"
    )
    return keyframes


def _check_unknown_split(source: Source) -> None:
    try:
        source.list_samples("no such split")
    except DataError as error:
        assert "known:" in str(error), f"the message must name the splits that are known: {error}"
        assert "\n" not in str(error), "an error is one line"
    else:
        raise AssertionError("an unknown split must be a DataError")


def _check_reading(source: Source, elsewhere: Source, keyframe: Any, options: ReadOptions) -> Frame:
    data = pickle.dumps(keyframe)
    assert len(data) <= _KEYFRAME_BYTES, f"a keyframe takes {len(data)} bytes pickled; read its files later"
    frame = source.read(keyframe, options)
    row = FRAME.to_row(frame)
    assert FRAME.to_row(elsewhere.read(pickle.loads(data), options)) == row, "the same bytes in every process"
    assert FRAME.to_row(FRAME.from_row(row)) == row, "a frame survives its way through Parquet"
    assert frame.token == keyframe.token
    _check_points(frame, options, len(source.vocabulary.classes))
    _check_images(frame, options)
    _check_pairs(frame)
    return frame


def _check_points(frame: Frame, options: ReadOptions, classes: int) -> None:
    assert len(frame.points) and np.isfinite(frame.points).all(), "points are finite, and there are some"
    assert np.isfinite(frame.features).all(), "features are finite"
    assert frame.keyframe.any(), "the keyframe has points of its own"
    assert (np.diff(frame.sweep.astype(int)) >= 0).all(), "sweeps follow one another"
    assert frame.sweep.max() <= options.lidar_sweeps, "no more sweeps than asked for"
    if frame.labels is not None:
        assert frame.labels.max() <= classes, f"labels are 0 (ignored) to {classes}"
        assert not frame.labels[~frame.keyframe].any(), "the points of sweeps are ignored"


def _check_images(frame: Frame, options: ReadOptions) -> None:
    assert frame.image_size == options.image_size
    assert len(set(frame.cameras)) == len(frame.cameras), "camera names are unique"
    for camera, image in zip(frame.cameras, frame.images, strict=True):
        assert decode(image).shape == (*options.image_size, 3), (
            f"{camera} is not stored at the size asked for"
        )


def _check_pairs(frame: Frame) -> None:
    image, row, column = frame.pair_pixels.astype(np.int64).T
    point = frame.pair_points.astype(np.int64)
    height, width = frame.image_size
    for name, values, limit in (
        ("point", point, len(frame.points)),
        ("image", image, len(frame.images)),
        ("row", row, height),
        ("column", column, width),
    ):
        assert ((values >= 0) & (values < limit)).all(), f"a pair's {name} is not 0 to {limit - 1}"
    assert (np.diff(image * len(frame.points) + point) >= 0).all(), (
        "pairs are ordered by image, then by point"
    )
