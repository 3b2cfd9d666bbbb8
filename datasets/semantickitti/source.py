"""SemanticKITTI as a source of frames: checks the tree, lists its scans, reads and projects them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import Size, image_size, not_hidden, read_bytes, read_points, require_centred
from datasets.common.listing import note, present
from datasets.common.release import release
from datasets.semantickitti.classes import LABEL_TABLE, NO_LABEL, VOCABULARY
from datasets.semantickitti.sequence import CAMERA, MAX_SWEEPS, Scan, frames_without_a_scan, load_keyframes
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.geometry.transforms import Matrix, project, require_rigid, transform_points
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import IGNORED, Frame
from scenelift.samples.images import fit, stored_pixels
from scenelift.samples.plausible import require_range
from scenelift.samples.vocabulary import with_words

SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(str(number) for number in range(11, 22)),
}
"""Sequences by split."""

_FOCAL_LENGTHS = (718.856, 721.5377, 707.0912, 707.0493, 718.3351)
"""KITTI's own cameras, by P2's first number, pixels."""
_SIZES = ((376, 1241), (375, 1242), (370, 1226), (370, 1224), (374, 1238))
"""(height, width) of their rectified images."""

Points = NDArray[np.float32]


class SemanticKITTI:
    """A SemanticKITTI tree: `ROOT/sequences/NN/{velodyne,labels,image_2,calib.txt,poses.txt,times.txt}`.

    Only velodyne is required: a sequence without the folder labels has no labels, one without image_2 no images,
    one without poses.txt no sweeps. A folder that exists must have a file for every scan. An optional
    `ROOT/prompts.json` ({class: [words]}) replaces prompt words. Small to pickle.
    """

    name = "semantickitti"

    def __init__(self, root: str | Path, version: str = "1.0") -> None:
        """`version` is for the manifest; the files do not contain it. DataError for a wrong root."""
        self.root = Path(root)
        self.version = release(self.root, version)
        _require_tree(self.root)
        self.vocabulary = with_words(VOCABULARY, self.root / "prompts.json")
        self.left_out: dict[str, int] = {}

    def list_samples(self, split: str | None = None) -> list[Scan]:
        """The scans of a split (None: of all sequences in the tree), by sequence, then by frame number.

        Raises DataError for an unknown split, one without sequences in the tree, and inconsistent files.
        """
        self.left_out = {}
        here = sorted(path.name for path in not_hidden((self.root / "sequences").iterdir()) if path.is_dir())
        if split is not None and split not in SPLITS:
            raise DataError(f"unknown split {split}; known: {', '.join(SPLITS)}")
        wanted = (
            here if split is None else present(SPLITS[split], here, f"sequences of {split}", self.left_out)
        )
        if not wanted:
            of = f" of {split} ({', '.join(SPLITS[split])})" if split else ""
            raise DataError(f"{self.root} has no sequences{of}; it has: {', '.join(here) or 'none'}")
        sequences = [load_keyframes(self.root, name) for name in wanted]
        lacking = sum(frames_without_a_scan(self.root, scans) for scans in sequences)
        note(self.left_out, "frames without a scan in velodyne", lacking)
        return [scan for scans in sequences for scan in scans]

    def read(self, keyframe: Scan, options: ReadOptions) -> Frame:
        """Read and project one scan with `options.lidar_sweeps` earlier ones (clip2scene.md 1.2, 1.3).

        Features are the remission, 0..1 (F = 1). Sweeps come nearest first, moved into the keyframe's LiDAR
        frame by the poses; at the start of a sequence the last available one is repeated. Points of the
        sweeps are projected as if captured with the keyframe. Raises FrameError for anything wrong with the
        files, DataError for sweeps without poses.
        """
        key = self._points(keyframe.points)
        clouds = [key, *self._sweeps(keyframe, key, options.lidar_sweeps)]
        merged = np.concatenate(clouds)
        points = np.ascontiguousarray(merged[:, :3])
        images, pair_points, pair_pixels = self._view(keyframe, points, options.image_size)
        return Frame(
            token=keyframe.token,
            scene=keyframe.scene,
            timestamp=keyframe.timestamp,
            points=points,
            features=np.ascontiguousarray(merged[:, 3:]),
            sweep=np.repeat(np.arange(len(clouds), dtype=np.uint8), [len(cloud) for cloud in clouds]),
            labels=self._labels(keyframe, len(key), len(points)),
            cameras=(CAMERA,) * len(images),
            images=images,
            image_size=options.image_size,
            pair_points=pair_points,
            pair_pixels=pair_pixels,
        )

    def _points(self, name: str) -> Points:
        """[N, 4] x, y, z (metres, LiDAR frame) and remission (0..1) of a point file."""
        points = read_points(self.root, name, 4)
        require_range(name, points[:, 3], 0, 1, "remissions")
        return points

    def _sweeps(self, keyframe: Scan, key: Points, count: int) -> list[Points]:
        """`count` clouds [N_k, 4] before the keyframe, nearest first, in its LiDAR frame."""
        if not 0 <= count <= MAX_SWEEPS:
            raise ConfigError(f"SemanticKITTI has 0 to {MAX_SWEEPS} sweeps before a scan, not {count}")
        if not count:
            return []
        if keyframe.sweep_to_keyframe is None:
            raise DataError(
                f"sequence {keyframe.scene} has no poses.txt, which is needed to align sweeps with the keyframe; "
                "unpack SemanticKITTI's poses or use --lidar_sweeps 0"
            )
        pairs = zip(keyframe.lidar_sweeps[:count], keyframe.sweep_to_keyframe[:count], strict=True)
        clouds = [self._sweep(name, transform) for name, transform in pairs] or [key]
        return clouds + clouds[-1:] * (count - len(clouds))

    def _sweep(self, name: str, to_keyframe: Matrix) -> Points:
        points = self._points(name)
        try:
            require_rigid(to_keyframe)
        except ValueError as error:
            raise FrameError(f"{name}: its pose or the keyframe's in poses.txt is wrong: {error}") from None
        return np.concatenate([transform_points(to_keyframe, points[:, :3]), points[:, 3:]], 1)

    def _labels(self, keyframe: Scan, count: int, total: int) -> NDArray[np.uint8] | None:
        """[total] labels of the `count` points of the keyframe, followed by ignored ones for the sweeps."""
        if keyframe.labels is None:
            return None
        data = read_bytes(self.root, keyframe.labels)
        if len(data) != 4 * count:
            raise FrameError(
                f"{keyframe.labels} has {len(data) / 4:g} labels, {keyframe.points} {count} points"
            )
        raw = np.frombuffer(data, "<u4") & 0xFFFF  # the upper half is the instance id
        labels = np.full(total, IGNORED, np.uint8)
        labels[:count] = LABEL_TABLE[raw]
        if (labels == NO_LABEL).any():
            unknown = raw[labels[:count] == NO_LABEL][0]
            raise FrameError(
                f"{keyframe.labels} has label {unknown}, which SemanticKITTI does not use; labels are its "
                "raw numbers, not 0..19"
            )
        return labels

    def _view(
        self, keyframe: Scan, points: Points, size: tuple[int, int]
    ) -> tuple[tuple[bytes, ...], NDArray[np.int32], NDArray[np.int16]]:
        """The image at the stored size, and the pairs: point index [M], (0, row, column) [M, 3]."""
        if keyframe.image is None:
            return (), np.empty(0, np.int32), np.empty((0, 3), np.int16)
        data = read_bytes(self.root, keyframe.image)
        try:
            image, native = fit(data, None, size), image_size(data)
            require_centred(keyframe.intrinsic, native)
            _require_uncropped(keyframe.intrinsic, native)
        except (FrameError, ValueError) as error:
            raise FrameError(f"{keyframe.image}: {error}") from None
        try:
            seen, pixels = project(points, keyframe.to_camera, keyframe.intrinsic, native)
        except ValueError as error:
            raise FrameError(f"sequences/{keyframe.scene}/calib.txt: {error}") from None
        first = np.zeros((len(seen), 1), np.int16)
        pair_pixels = np.concatenate([first, stored_pixels(pixels, native, size)], 1)
        return (image,), seen.astype(np.int32), pair_pixels


def _require_uncropped(intrinsic: Matrix, native: Size) -> None:
    """FrameError if the calibration is one of KITTI's own and the image has none of KITTI's sizes."""
    if np.isclose(intrinsic[0, 0], _FOCAL_LENGTHS, atol=1e-3).any() and native not in _SIZES:
        raise FrameError(
            f"the image is {native[1]}x{native[0]} pixels, which KITTI's are not, but the calibration is KITTI's; "
            "use the images of data_odometry_color, neither cropped nor resized"
        )


def _require_tree(root: Path) -> None:
    if (root / "sequences").is_dir():
        return
    if not root.is_dir():
        raise DataError(f"no folder {root}; --root is the SemanticKITTI folder that holds sequences")
    if (root / "dataset" / "sequences").is_dir():
        raise DataError(f"{root} has no folder sequences, but dataset has: use --root {root / 'dataset'}")
    if root.name == "sequences":
        raise DataError(f"{root} is the folder of the sequences; --root is the folder above, {root.parent}")
    raise DataError(f"{root} has no folder sequences; --root is the SemanticKITTI folder that holds it")
