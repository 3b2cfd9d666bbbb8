"""What shards, batches and training rely on in any data set: one function that every adapter is run through, by
`python -m datasets.check` and by its own tests."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from scenelift.errors import DataError, SceneliftError, reason
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, Frame, Source
from scenelift.samples.images import decode
from scenelift.samples.kind import described

_SOURCE_BYTES, _KEYFRAME_BYTES = 1 << 20, 1 << 16
"""What a pickled source and a pickled keyframe may take: every reading process gets one, and all of them."""


def check_source(source: Source, split: str | None, options: ReadOptions, at_most: int = 4) -> list[Frame]:
    """Check that a source is what `samples.frame.Source` says, on up to `at_most` frames spread over the split.

    Returns the frames, for what only its own tests can know of them: which point is which pixel. Raises DataError,
    in one line, for the first thing that is wrong.
    """
    keyframes = _check_listing(source, split)
    _check_unknown_split(source)
    data = _pickled(source, "the source")
    _require(len(data) <= _SOURCE_BYTES, f"the source takes {len(data)} bytes pickled; let it hold no tables")
    elsewhere = pickle.loads(data)  # made above, in this process: as a source travels to those that read
    chosen = sorted({round(place) for place in np.linspace(0, len(keyframes) - 1, at_most)})
    frames = [_check_reading(source, elsewhere, keyframes[number], options) for number in chosen]
    widths = {frame.features.shape[1] for frame in frames}
    _require(
        len(widths) == 1 and widths != {0},
        f"all frames have the same number of features, at least one, not {', '.join(map(str, sorted(widths)))}",
    )
    return frames


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise DataError(message)


def _pickled(thing: object, name: str) -> bytes:
    try:
        return pickle.dumps(thing)
    except Exception as error:  # what it holds decides
        raise DataError(
            f"{name} cannot be pickled ({reason(error)}); let it hold names and numbers, no open files"
        ) from error


def _check_listing(source: Source, split: str | None) -> list[Any]:
    named = all(isinstance(each, str) and each for each in (source.name, source.version))
    _require(named, "name and version are words, as they are in every manifest")
    keyframes = source.list_samples(split)
    _require(bool(keyframes), "a split without keyframes must be a DataError")
    tokens = [getattr(keyframe, "token", None) for keyframe in keyframes]
    _require(all(isinstance(token, str) and token for token in tokens), "each keyframe has a token, a word")
    _require(len(set(tokens)) == len(tokens), "tokens are unique")
    again = [keyframe.token for keyframe in source.list_samples(split)]
    _require(again == tokens, "list_samples must give the same order each time; sort the files")
    return keyframes


def _check_unknown_split(source: Source) -> None:
    try:
        source.list_samples("no such split")
    except DataError as error:
        _require("known:" in str(error), f"the message must name the splits after 'known:': {error}")
    except Exception as error:
        raise DataError(f"an unknown split must be a DataError, not a {type(error).__name__}") from error
    else:
        raise DataError("an unknown split must be a DataError")


def _check_reading(source: Source, elsewhere: Source, keyframe: Any, options: ReadOptions) -> Frame:
    data = _pickled(keyframe, f"the keyframe {keyframe.token}")
    small = len(data) <= _KEYFRAME_BYTES
    _require(small, f"the keyframe {keyframe.token} takes {len(data)} bytes pickled; read its files later")
    try:
        frame: Frame = source.read(keyframe, options)
        _require(isinstance(frame, Frame), f"read gives a {type(frame).__name__}, not a Frame")
        _require(frame.token == keyframe.token, f"the frame is named {frame.token}")
        _check_points(frame, options)
        FRAME.check(frame, source)
        _check_images(frame, options)
        pairs = frame.pair_pixels[:, 0].astype(np.int64) * len(frame.points) + frame.pair_points
        _require(bool((np.diff(pairs) >= 0).all()), "pairs are ordered by image, then by point")
        row = FRAME.to_row(frame)
        again = FRAME.to_row(elsewhere.read(pickle.loads(data), options))
        _require(again == row, "read must give the same bytes each time, in every process")
        _require(FRAME.to_row(FRAME.from_row(row)) == row, "a frame must survive its way through Parquet")
    except SceneliftError as error:
        said = str(error)
        raise DataError(said if keyframe.token in said else f"{keyframe.token}: {said}") from error
    except Exception as error:  # whatever the code of a user raises
        raise DataError(f"{keyframe.token}: read raises {described(error)}") from error
    return frame


def _check_points(frame: Frame, options: ReadOptions) -> None:
    _require(bool(frame.keyframe.any()), "the keyframe has points of its own")
    _require(bool((np.diff(frame.sweep.astype(int)) >= 0).all()), "sweeps follow one another")
    _require(int(frame.sweep.max()) <= options.lidar_sweeps, "no more sweeps than asked for")
    if frame.labels is not None:
        _require(
            not frame.labels[~frame.keyframe].any(), "the points of sweeps are ignored, and have label 0"
        )


def _check_images(frame: Frame, options: ReadOptions) -> None:
    same = tuple(frame.image_size) == tuple(options.image_size)
    _require(same, f"the images are not stored at the size {options.image_size} that is asked for")
    _require(len(set(frame.cameras)) == len(frame.cameras), "camera names are unique")
    for camera, image in zip(frame.cameras, frame.images, strict=True):
        shape = decode(image).shape
        _require(shape == (*options.image_size, 3), f"{camera} is not stored at the size asked for")
