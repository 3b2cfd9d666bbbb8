"""ScanNet as a source of frames: checks the tree, lists its scenes, reads them with their photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.common.files import not_hidden, read_bytes, read_points, read_text, words
from datasets.common.listing import present
from datasets.common.release import release
from datasets.scannet import classes
from datasets.scannet.views import Views, read_views
from scenelift.errors import ConfigError, DataError, FrameError
from scenelift.io.ply import columns, read_vertices
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import Frame
from scenelift.samples.plausible import FARTHEST_IN_ROOM, require_bytes, require_metres
from scenelift.samples.vocabulary import with_words

FRAMES = "scannet_frames_25k"
_LIST = "scannetv2_{}.txt"
_POINT = ("x", "y", "z", "red", "green", "blue")

Points = NDArray[np.float32]


@dataclass(frozen=True)
class RoomScan:
    """The files of a scene, relative to the data set's root."""

    token: str
    """The scene, such as scene0000_00."""
    points: str
    labels: str | None
    """None if the scenes of the split have no labels."""
    photos: str | None
    """Folder of the photos; None if the tree has no photos."""


class ScanNet:
    """A ScanNet tree. One sample is one complete scene, with all of its photos.

    Points: `ROOT/scans/SCENE/SCENE_vh_clean_2.ply`, or `ROOT/points/SCENE.bin`, raw float32 x, y, z, r, g, b.
    Labels, NYU40 ids: `ROOT/scans/SCENE/SCENE_vh_clean_2.labels.ply`. Photos:
    `ROOT/scannet_frames_25k/SCENE/{color,depth,pose,intrinsics_depth.txt}`. The label table and the lists
    `scannetv2_SPLIT.txt` are in ROOT or ROOT/meta; the class list is those of the benchmark's 20 classes that the
    table has. An optional `ROOT/prompts.json` ({class: [words]}) replaces prompt words.

    A tree without photos, or a split without labels, is read without them; if one scene has some, all must.
    Small to pickle.
    """

    name = "scannet"

    def __init__(self, root: str | Path, version: str = "v2") -> None:
        """`version` is for the manifest; the files do not contain it. DataError for a wrong root or table."""
        self.root = Path(root)
        self.version = release(self.root, version)
        _require_tree(self.root)
        self.meta = self.root if (self.root / classes.TABLE).is_file() else self.root / "meta"
        listed = classes.read_table(self.meta / classes.TABLE)
        self.vocabulary = with_words(classes.vocabulary(listed), self.root / "prompts.json")
        self._label_table = classes.label_table(listed)
        self.left_out: dict[str, int] = {}

    def list_samples(self, split: str | None = None) -> list[RoomScan]:
        """The scenes of a split (None: all in the tree), by name.

        Raises DataError for an unknown split or one without scenes in the tree.
        """
        self.left_out = {}
        files = self._scenes()
        wanted = sorted(files) if split is None else self._split(split, sorted(files))
        if not wanted:
            raise DataError(
                f"{self.root} has no scenes{f' of {_LIST.format(split)}' if split else ''}; "
                f"{len(files)} scenes are in scans and points"
            )
        labels = {scene: f"scans/{scene}/{scene}_vh_clean_2.labels.ply" for scene in wanted}
        labeled = any((self.root / file).is_file() for file in labels.values())
        photos = (self.root / FRAMES).is_dir()
        return [
            RoomScan(
                token=scene,
                points=files[scene],
                labels=labels[scene] if labeled else None,
                photos=f"{FRAMES}/{scene}" if photos else None,
            )
            for scene in wanted
        ]

    def _scenes(self) -> dict[str, str]:
        """Scene -> its points file; meshes take precedence over raw points."""
        raw = {path.stem: f"points/{path.name}" for path in not_hidden((self.root / "points").glob("*.bin"))}
        scans = [path.name for path in not_hidden((self.root / "scans").glob("*")) if path.is_dir()]
        return raw | {scene: f"scans/{scene}/{scene}_vh_clean_2.ply" for scene in scans}

    def _split(self, split: str, here: list[str]) -> list[str]:
        """The scenes of a split's list that are here, by name."""
        start, end = _LIST.split("{}")
        known = sorted(
            path.name[len(start) : -len(end)] for path in not_hidden(self.meta.glob(_LIST.format("*")))
        )
        if split not in known:
            raise DataError(
                f"unknown split {split}; known: {', '.join(known) or 'none'} (the lists "
                f"{_LIST.format('SPLIT')} in {self.meta})"
            )
        listed = words(read_text(self.meta / _LIST.format(split)))
        return present(listed, here, f"scenes of {_LIST.format(split)}", self.left_out)

    def read(self, keyframe: RoomScan, options: ReadOptions) -> Frame:
        """Read one scene: its vertices, colors, labels, and the photos that show them (clip2scene.md 1.6).

        Features are colors, scaled as for the paper's student: rgb / 127.5 - 1 (F = 3). Points stay in the scene's
        own frame (z up). The timestamp is 0: a scene has none. Raises FrameError for anything wrong with the
        files, ConfigError for sweeps, which ScanNet does not have.
        """
        if options.lidar_sweeps:
            raise ConfigError(f"ScanNet has no sweeps; use --lidar_sweeps 0, not {options.lidar_sweeps}")
        cloud = self._points(keyframe.points)
        points = np.ascontiguousarray(cloud[:, :3])
        views = self._views(keyframe, points, options.image_size)
        labels, unknown = self._labels(keyframe, len(points))
        return Frame(
            token=keyframe.token,
            scene=keyframe.token,
            timestamp=0,
            points=points,
            features=cloud[:, 3:] / np.float32(127.5) - np.float32(1),
            sweep=np.zeros(len(points), np.uint8),
            labels=labels,
            cameras=views.cameras,
            images=views.images,
            image_size=options.image_size,
            pair_points=views.pair_points,
            pair_pixels=views.pair_pixels,
            left_out={"labels that are no NYU40 ids": unknown, "photos without a pose": views.lost},
        )

    def _points(self, name: str) -> Points:
        """[N, 6] x, y, z (metres) and red, green, blue (0..255)."""
        if name.endswith(".bin"):
            cloud = read_points(self.root, name, len(_POINT), FARTHEST_IN_ROOM)
        else:
            vertices = read_vertices(name, read_bytes(self.root, name))
            cloud = columns(name, vertices, _POINT)
            require_metres(name, cloud[:, :3], FARTHEST_IN_ROOM)
        require_bytes(name, cloud[:, 3:], "colors")
        return cloud

    def _labels(self, keyframe: RoomScan, count: int) -> tuple[NDArray[np.uint8] | None, int]:
        """[count] labels, and how many of them are ignored because their number is no NYU40 id.

        Three of ScanNet's own training scenes have 50 and 149; its evaluation ignores them too.
        """
        if keyframe.labels is None:
            return None, 0
        vertices = read_vertices(keyframe.labels, read_bytes(self.root, keyframe.labels))
        raw = columns(keyframe.labels, vertices, ("label",))[:, 0].astype(np.int64)
        if len(raw) != count:
            raise FrameError(f"{keyframe.labels} has {len(raw)} labels, {keyframe.points} {count} points")
        beyond = (raw > classes.LAST_ID) | (raw < 0)
        if beyond.sum() > len(raw) / 2:
            raise FrameError(
                f"{keyframe.labels} has label {raw[beyond][0]}, and as most of its labels this is no NYU40 id "
                f"(0..{classes.LAST_ID}); use ScanNet's own .labels.ply"
            )
        labels = self._label_table[np.where(beyond, 0, raw)]
        if (labels == classes.NO_CLASS).any():
            unknown = raw[labels == classes.NO_CLASS][0]
            raise FrameError(f"{keyframe.labels} has label {unknown}, which {classes.TABLE} does not list")
        return labels, int(beyond.sum())

    def _views(self, keyframe: RoomScan, points: Points, size: tuple[int, int]) -> Views:
        if keyframe.photos is None:
            return Views((), (), np.empty(0, np.int32), np.empty((0, 3), np.int16))
        return read_views(self.root, keyframe.photos, points, size)


def _require_tree(root: Path) -> None:
    if not root.is_dir():
        raise DataError(f"no folder {root}; --root is the ScanNet folder that holds scans")
    if (root / "scans").is_dir() or (root / "points").is_dir():
        return
    if root.name == "scans":
        raise DataError(f"{root} is the folder of the scenes; --root is the folder above, {root.parent}")
    raise DataError(f"{root} has no folder scans (nor points); --root is the ScanNet folder that holds it")
