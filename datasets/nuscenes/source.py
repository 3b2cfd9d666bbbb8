"""nuScenes as a source of frames: checks the tree, lists its keyframes, reads and projects them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from datasets.common.files import parse_npz, read_bytes, read_points
from datasets.common.listing import note, present
from datasets.nuscenes import classes, splits
from datasets.nuscenes.keyframes import (
    LABEL_FILES,
    MAX_SWEEPS,
    Keyframe,
    load_keyframes,
    scene_names,
)
from datasets.nuscenes.tables import read_table
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.geometry.transforms import Matrix, project, require_rigid, transform_points
from scenelift.io.console import say
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import IGNORED, Frame
from scenelift.samples.images import fit, stored_pixels
from scenelift.samples.plausible import require_bytes
from scenelift.samples.vocabulary import Vocabulary, with_words

POINT_FLOATS = 5
"""A point on disk: float32 x, y, z, intensity, ring."""
_NEAR = 1.0
"""Sweep points with |x| and |y| below this many metres hit the car itself."""

_TABLES = " (its rows of calibrated_sensor.json and ego_pose.json, or the key frame's)"
_INSTANCES = 1000
"""Panoptic nuScenes' numbers: 1000 x category + instance."""

_CATEGORY = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("index", pa.int64())])

Points = NDArray[np.float32]


class NuScenes:
    """A nuScenes tree (`ROOT/v1.0-trainval/*.json`, `ROOT/samples`, `ROOT/sweeps`, `ROOT/lidarseg`).

    Labels are those of nuScenes-lidarseg, or of Panoptic nuScenes where it is alone (`ROOT/panoptic`). Also reads
    other data in that layout; a `splits.json` ({split: [scene names]}) next to the tables replaces the official
    splits. The class list is those of the 16 lidarseg classes that category.json has. An optional
    `ROOT/prompts.json` ({class: [words]}) replaces prompt words. Small to pickle: it does not keep the tables.
    """

    name = "nuscenes"

    def __init__(self, root: str | Path, version: str = "v1.0-trainval") -> None:
        """Raises DataError if `root` does not have the version, or its category.json is not nuScenes'."""
        self.root, self.version = Path(root), version
        self.tables = self.root / version
        _require_tree(self.root, version)
        listed, self._label_table = self._classes()
        self.vocabulary = with_words(listed, self.root / "prompts.json")
        self.left_out: dict[str, int] = {}

    def _classes(self) -> tuple[Vocabulary, NDArray[np.uint8] | None]:
        """The class list, and the label byte -> class table if the tree has labels of points.

        Without them, category.json lists only classes with boxes, so all 16 classes are used instead.
        """
        table = read_table(self.tables / "category.json", _CATEGORY)
        names, indices = table["name"].to_pylist(), table["index"].to_pylist()
        listed = classes.vocabulary(names)
        if not any((self.tables / f"{kind}.json").is_file() for kind in LABEL_FILES):
            self._say_unlisted()
            return classes.FULL, None
        if not all(isinstance(index, int) and 0 <= index < 256 for index in indices):
            raise DataError(
                f"{self.tables / 'category.json'} has no label indices; unpack nuScenes-lidarseg or Panoptic "
                "nuScenes over it"
            )
        return listed, classes.label_table(dict(zip(names, indices, strict=True)), listed)

    def _say_unlisted(self) -> None:
        """Label files without their table look like a data set without labels."""
        for kind in LABEL_FILES:
            if (self.root / kind / self.version).is_dir():
                say(
                    f"{self.root / kind} has label files, but {self.tables} has no {kind}.json: labels are left "
                    f"out; unpack the tables of nuScenes-{kind} there"
                )

    def list_samples(self, split: str | None = None) -> list[Keyframe]:
        """The keyframes of a split (None: of all scenes), by scene in table order, then by time.

        Raises DataError for an unknown split, one without scenes in the tree, and broken tables.
        """
        self.left_out = {}
        available = scene_names(self.tables)
        wanted = set(available) if split is None else self._split(split, available)
        keyframes = load_keyframes(self.tables, wanted)
        cameras = {camera for keyframe in keyframes for camera in keyframe.cameras}
        lacking = sum(len(cameras) - len(keyframe.cameras) for keyframe in keyframes)
        note(self.left_out, "images that sample_data.json does not list", lacking)
        if not keyframes:
            raise DataError(f"{self.tables} has no keyframes{f' of {split}' if split else ''}")
        return keyframes

    def _split(self, split: str, available: list[str]) -> set[str]:
        known = splits.of_tree(self.tables)
        count = {name: len(scenes.intersection(available)) for name, scenes in known.items()}
        listed = ", ".join(f"{name} ({number} scenes)" for name, number in count.items() if number)
        if split not in known:
            raise DataError(
                f"unknown split {split}; known: {', '.join(known)}; with scenes here: {listed or 'none'}"
            )
        if not count[split]:
            raise DataError(f"{self.tables} has no scene of {split}; with scenes here: {listed or 'none'}")
        return set(present(known[split], available, f"scenes of {split}", self.left_out))

    def read(self, keyframe: Keyframe, options: ReadOptions) -> Frame:
        """Read and project one keyframe with `options.lidar_sweeps` earlier sweeps (CLIP2Scene, section 3).

        Sweeps come nearest first, without the car's own returns, moved into the keyframe's LiDAR frame by
        the ego poses; at the start of a scene the last available one is repeated. Points of the sweeps are
        projected as if captured with the keyframe. Raises FrameError for anything wrong with the files.
        """
        key = self._points(keyframe.points)
        clouds = [key, *self._sweeps(keyframe, options.lidar_sweeps)]
        merged = np.concatenate(clouds)
        points = np.ascontiguousarray(merged[:, :3])
        images, pair_points, pair_pixels = self._views(keyframe, points, options.image_size)
        return Frame(
            token=keyframe.token,
            scene=keyframe.scene,
            timestamp=keyframe.timestamp,
            points=points,
            features=np.ascontiguousarray(merged[:, 3:4]),
            sweep=np.repeat(np.arange(len(clouds), dtype=np.uint8), [len(cloud) for cloud in clouds]),
            labels=self._labels(keyframe, len(key), len(points)),
            cameras=keyframe.cameras,
            images=images,
            image_size=options.image_size,
            pair_points=pair_points,
            pair_pixels=pair_pixels,
        )

    def _points(self, name: str) -> Points:
        """[N, 4] x, y, z (metres, LiDAR frame) and intensity (0..255) of a point file."""
        points = read_points(self.root, name, POINT_FLOATS)[:, :4]
        require_bytes(name, points[:, 3], "intensities")
        return points

    def _sweeps(self, keyframe: Keyframe, count: int) -> list[Points]:
        """`count` clouds [N_k, 4] before the keyframe, nearest first, in its LiDAR frame."""
        if not 0 <= count <= MAX_SWEEPS:
            raise ConfigError(f"nuScenes has 0 to {MAX_SWEEPS} sweeps before a keyframe, not {count}")
        files = keyframe.lidar_sweeps or (keyframe.points,)
        transforms = keyframe.sweep_to_keyframe if keyframe.lidar_sweeps else np.eye(4)[None]
        clouds = [self._sweep(*pair) for pair in zip(files[:count], transforms[:count], strict=True)]
        return clouds + clouds[-1:] * (count - len(clouds))

    def _sweep(self, name: str, to_keyframe: Matrix) -> Points:
        points = self._points(name)
        far = points[(np.abs(points[:, :2]) >= _NEAR).any(1)]
        _check(name, to_keyframe)
        return np.concatenate([transform_points(to_keyframe, far[:, :3]), far[:, 3:]], 1)

    def _labels(self, keyframe: Keyframe, count: int, total: int) -> NDArray[np.uint8] | None:
        """[total] labels of the `count` points of the keyframe, followed by ignored ones for the sweeps."""
        if keyframe.labels is None or self._label_table is None:
            return None
        raw = self._raw_labels(keyframe.labels)
        if len(raw) != count:
            raise FrameError(f"{keyframe.labels} has {len(raw)} labels, {keyframe.points} {count} points")
        labels = np.full(total, IGNORED, np.uint8)
        labels[:count] = self._label_table[raw]
        if (labels[:count] == classes.NO_CATEGORY).any():
            unknown = raw[labels[:count] == classes.NO_CATEGORY][0]
            raise FrameError(f"{keyframe.labels} has label {unknown}, which category.json does not list")
        return labels

    def _raw_labels(self, name: str) -> NDArray[np.uint8]:
        """[N] category of each point: bytes of lidarseg, or panoptic's numbers without the instance."""
        data = read_bytes(self.root, name)
        if not name.endswith(".npz"):
            return np.frombuffer(data, np.uint8)
        arrays = parse_npz(name, data)
        if "data" not in arrays:
            raise FrameError(f"{name} has no array data, as Panoptic nuScenes' files have")
        raw = arrays["data"]
        if raw.ndim != 1 or raw.dtype.kind not in "ui" or (raw < 0).any():
            raise FrameError(
                f"{name} has data of {raw.dtype} {list(raw.shape)}, not one whole number a point"
            )
        return np.minimum(raw.astype(np.int64) // _INSTANCES, classes.NO_CATEGORY).astype(np.uint8)

    def _views(
        self, keyframe: Keyframe, points: Points, size: tuple[int, int]
    ) -> tuple[tuple[bytes, ...], NDArray[np.int32], NDArray[np.int16]]:
        """The images at the stored size, and the pairs: point index [M], (image, row, column) [M, 3]."""
        images: list[bytes] = []
        pair_points, pair_pixels = [np.empty(0, np.int32)], [np.empty((0, 3), np.int16)]
        for view, name in enumerate(keyframe.images):
            data, native = read_bytes(self.root, name), keyframe.image_sizes[view]
            try:
                images.append(fit(data, native, size))
                seen, pixels = project(points, keyframe.to_camera[view], keyframe.intrinsics[view], native)
            except FrameError as error:
                raise FrameError(f"{name}: {error}") from None
            except ValueError as error:
                raise FrameError(f"{name}: {error}{_TABLES}") from None
            pair_points.append(seen.astype(np.int32))
            image = np.full((len(seen), 1), view, np.int16)
            pair_pixels.append(np.concatenate([image, stored_pixels(pixels, native, size)], 1))
        return tuple(images), np.concatenate(pair_points), np.concatenate(pair_pixels)


def _check(name: str, transform: Matrix) -> None:
    try:
        require_rigid(transform)
    except ValueError as error:
        raise FrameError(f"{name}: {error}{_TABLES}") from None


def _require_tree(root: Path, version: str) -> None:
    if (root / version).is_dir():
        return
    if not root.is_dir():
        raise DataError(f"no folder {root}; --root is the nuScenes folder that holds {version} and samples")
    versions = sorted(table.parent.name for table in root.glob("*/scene.json"))
    if (root / "scene.json").is_file():
        raise DataError(f"{root} holds the tables themselves; --root is the folder above, {root.parent}")
    hint = f"versions there: {', '.join(versions)}" if versions else "it has no nuScenes version"
    raise DataError(f"{root} has no folder {version}; {hint}")
