"""Frames of a rig: a cloud, photos with their poses and intrinsics, and which point each pixel shows. All that most
adapters have to do is to read files and to call `rig_frame`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scenelift.errors import FrameError
from scenelift.geometry.transforms import project
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.samples.images import fit, header_size, stored_pixels


@dataclass(frozen=True)
class View:
    """One photo of a keyframe, and where its camera was."""

    camera: str
    """Name of the camera; each has one photo."""
    image: bytes
    """The file as it is: JPEG, PNG, or another that Pillow reads."""
    camera_from_lidar: ArrayLike
    """[4, 4] the transform of points, as they lie in the frame's cloud, into the camera's frame: x right, y down, z
    forward, metres. Where camera and LiDAR were not triggered at once, it comes from the poses of both:
    inverse(world_from_camera) @ world_from_lidar."""
    intrinsic: ArrayLike
    """[3, 3] focal lengths and centre, pixels of the file, without distortion."""


def rig_frame(
    token: str,
    points: ArrayLike,
    options: ReadOptions,
    *,
    features: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    views: Sequence[View] = (),
    scene: str = "",
    timestamp: int = 0,
    min_depth: float = 1.0,
) -> Frame:
    """A frame from what a rig records, its photos stored at the size that the options ask for.

    points: [N, 3] metres, z up, of any number type; features: [N] or [N, F] per point, such as intensity (none: 1
    for every point, so that a voxel with points differs from an empty one); labels: [N] 0 = ignored, 1..C; scene:
    its drive or room, which is held out as a whole (none: the token); timestamp: microseconds; min_depth: nearest
    point that a camera sees, metres. There is no test of what hides what. FrameError says what is wrong.
    """
    if options.lidar_sweeps:
        raise FrameError(f"{token} comes without earlier sweeps; write --lidar_sweeps 0")
    cloud = _numbers(token, "points", points, 3)
    count = len(cloud)
    own = np.ones((count, 1)) if features is None else _numbers(token, "features", features)
    truth = None if labels is None else _labels(token, labels)
    for what, others in (("features", own), ("labels", own if truth is None else truth)):
        if len(others) != count:
            raise FrameError(f"{token} has {len(others):,} {what} and {count:,} points")
    shown = [_shown(token, cloud, view, options, min_depth) for view in views]
    pairs = [np.insert(pixels, 0, number, axis=1) for number, (_, _, pixels) in enumerate(shown)]
    return Frame(
        token=token,
        scene=scene or token,
        timestamp=timestamp,
        points=cloud.astype(np.float32),
        features=own.astype(np.float32),
        sweep=np.zeros(count, np.uint8),
        labels=truth,
        cameras=tuple(view.camera for view in views),
        images=tuple(image for image, _, _ in shown),
        image_size=options.image_size,
        pair_points=np.concatenate([np.zeros(0, np.int32), *(seen for _, seen, _ in shown)]).astype(np.int32),
        pair_pixels=np.concatenate([np.zeros((0, 3), np.int16), *pairs]).astype(np.int16),
    )


def _shown(
    token: str, cloud: NDArray[np.float64], view: View, options: ReadOptions, min_depth: float
) -> tuple[bytes, NDArray[np.intp], NDArray[np.int16]]:
    """The photo as it is stored, the points that it shows, and their (row, column) there."""
    try:
        native = header_size(view.image)
        image = fit(view.image, None, options.image_size)
        to_camera = np.asarray(view.camera_from_lidar, np.float64)
        intrinsic = np.asarray(view.intrinsic, np.float64)
        seen, pixels = project(cloud, to_camera, intrinsic, native, min_depth)
    except (FrameError, ValueError) as error:
        raise FrameError(f"{token}, {view.camera}: {error}") from None
    return image, seen, stored_pixels(pixels, native, options.image_size)


def _numbers(token: str, what: str, values: ArrayLike, width: int | None = None) -> NDArray[np.float64]:
    """[N, width] the values as float64, of one column if they are flat."""
    array = np.asarray(values)
    array = array[:, None] if array.ndim == 1 and width is None else array
    if array.ndim != 2 or width not in (None, array.shape[1]):
        wanted = f"[N, {width or 'F'}]"
        raise FrameError(f"{token}: {what} are {list(array.shape)}, not {wanted}")
    if array.dtype.kind not in "fiub":
        raise FrameError(f"{token}: {what} are {array.dtype}, not numbers")
    return array.astype(np.float64)


def _labels(token: str, labels: ArrayLike) -> NDArray[np.uint8]:
    array = np.asarray(labels)
    whole = array.ndim == 1 and array.dtype.kind in "iu"
    if not whole or (len(array) and not (array.min() >= 0 and array.max() <= 255)):
        raise FrameError(f"{token}: labels are [N] whole numbers 0..255, 0 for points without a class")
    return array.astype(np.uint8)
