"""Protects users with broken files: whatever is wrong with any file of any data set, one line names it.

Every file of a small tree of each data set is broken in many ways; each way ends in a sample or in an error of
ours, never in a traceback, and within a shard job one broken file is one bad sample.
"""

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.captions.config import CaptionOptions
from datasets.captions.regions import BottomUpFolder, read_classes
from datasets.common.files import parse_npz
from datasets.flickr30k.sentences import read_sentence
from datasets.flickr30k.source import Flickr30k
from datasets.grounding.config import RoomOptions
from datasets.grounding.source import Grounding
from datasets.nuscenes.source import NuScenes
from datasets.referit.source import ReferIt
from datasets.scannet.source import ScanNet
from datasets.semantickitti.source import SemanticKITTI
from datasets.synthetic_rooms.config import PRESETS
from datasets.synthetic_rooms.write import generate
from scenelift.errors import FrameError, SceneliftError
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from scenelift.samples.images import decode
from scenelift.samples.kind import Kind
from scenelift.samples.room import ROOM
from tests.made.frames import MadeUp, made_up_frame
from tests.made.kitti_tree import KittiTree
from tests.made.nuscenes_tree import VERSION, Tree, jpeg
from tests.made.phrase_tree import SIZE, region_arrays, write_flickr30k
from tests.made.scannet_tree import ScanNetTree

Break = Callable[[bytes], bytes]
ALL = bool(os.environ.get("ALL_BROKEN_INPUTS"))
"""Every way for every file, half a minute; else every fourth, another fourth for the next file."""


@dataclass(frozen=True)
class Reader:
    """A data set: writes a tree, opens it, and what a sample of it needs."""

    write: Callable[[Path], None]
    open: Callable[[Path], Any]
    kind: Kind
    split: str | None
    options: Any

    def read(self, root: Path) -> Any:
        """The first sample of the tree."""
        source = self.open(root)
        return self.kind.read(source, source.list_samples(self.split)[0], self.options)


def _nuscenes(root: Path) -> None:
    Tree(root, ("scene-0103",)).write()


def _flickr(root: Path) -> None:
    write_flickr30k(root, {"train": ["1"]})
    (root / "classes.txt").write_text("man\ndog\n")
    (root / "flickr30k-images").mkdir()
    photo = jpeg(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8))
    (root / "flickr30k-images/1.jpg").write_bytes(photo)


def _referit(root: Path) -> None:
    _flickr(root)
    (root / "flickr30k-images").rename(root / "images")
    entry = {"img_id": "1.jpg", "bbox": [10, 20, 30, 40], "split": "train", "query": ["man on the left"]}
    (root / "expressions.json").write_text(json.dumps([entry]))
    shutil.rmtree(root / "Annotations")
    shutil.rmtree(root / "Sentences")
    (root / "train.txt").unlink()


def _rooms(root: Path) -> None:
    generate(replace(PRESETS["tiny"], out=root, train=1, val=1))


def _nr3d(root: Path) -> None:
    _rooms(root)
    row = json.loads((root / "ScanRefer_filtered_train.json").read_text())[0]
    scene, target, name = row["scene_id"], row["object_id"], row["object_name"]
    (root / "nr3d.csv").write_text(
        "stimulus_id,scan_id,target_id,instance_type,utterance,tokens,mentions_target_class\n"
        f"{scene}-{name}-1-{target},{scene},{target},{name},it is red,\"['it', 'is', 'red']\",True\n"
    )
    (root / "ScanRefer_filtered_train.json").unlink()


def _regions(root: Path) -> BottomUpFolder:
    return BottomUpFolder(root / "regions", read_classes(root / "classes.txt"))


FRAMES, CAPTIONS = ReadOptions(image_size=(24, 32)), CaptionOptions(photos=True)
READERS = {
    "nuscenes": Reader(
        _nuscenes, lambda root: NuScenes(root, VERSION), FRAME, None, ReadOptions(2, (24, 32))
    ),
    "semantickitti": Reader(
        lambda root: KittiTree(root, ("08",)) and None, SemanticKITTI, FRAME, "val", ReadOptions(1, (24, 32))
    ),
    "scannet": Reader(lambda root: ScanNetTree(root) and None, ScanNet, FRAME, "train", FRAMES),
    "flickr30k": Reader(
        _flickr, lambda root: Flickr30k(root, _regions(root)), CAPTIONED_IMAGE, "train", CAPTIONS
    ),
    "referit": Reader(
        _referit, lambda root: ReferIt(root, _regions(root)), CAPTIONED_IMAGE, "train", CAPTIONS
    ),
    "scanrefer": Reader(_rooms, Grounding, ROOM, "train", RoomOptions(points=50)),
    "nr3d": Reader(
        _nr3d,
        lambda root: Grounding(root, "nr3d", "instances"),
        ROOM,
        None,
        RoomOptions(points=50),
    ),
}


def _number(new: str) -> Break:
    """Every number of a text with a point, or the first few whole ones, become another."""
    pattern = re.compile(rb"-?\d+\.\d+(?:e[-+]?\d+)?|(?<=[ \[:,>])\d+(?=[ ,\]<\n])")
    return lambda data: pattern.sub(new.encode(), data)


BREAKS: dict[str, Break] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "less a byte": lambda data: data[:-1],
    "zeros": lambda data: bytes(len(data)),
    "ones": lambda data: b"\xff" * len(data),
    "noise": lambda data: np.random.default_rng(0).bytes(len(data)),
    "a page": lambda data: b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n",
    "twice": lambda data: data + data,
    "blanks": lambda data: b" \n" * 500,
    "null": lambda data: b"null",
    "a number": lambda data: b"5",
    "an object": lambda data: b'{"a": {"b": [null]}}',
    "rows of null": lambda data: b"[null, null]",
    "rows of lists": lambda data: b"[[1, 2], [3]]",
    "empty rows": lambda data: b"[{}, {}]",
    "deep": lambda data: b"[" * 100_000,
    "npy": lambda data: b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}",
    "latin-1": lambda data: b"caf\xe9\n" + data,
    "utf-16": lambda data: data[:1000].decode("latin-1").encode("utf-16"),
    "nan": _number("nan"),
    "inf": _number("1e999"),
    "huge": _number("123456789012345678901234567890"),
    "minus": _number("-7"),
    "strings": _number('"x"'),
}


def _kinds(root: Path) -> list[Path]:
    """One file of each folder and name without its numbers, relative to the root."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.relative_to(root)
            found.setdefault(re.sub(r"\d+", "#", str(name)), name)
    return list(found.values())


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tree of each data set, written once."""
    made: dict[str, Path] = {}

    def tree(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "tree"
            READERS[name].write(made[name])
        return made[name]

    return tree


def _outcome(reader: Reader, root: Path) -> str:
    """`a sample`, or our error's message; anything else is raised."""
    try:
        reader.read(root)
    except SceneliftError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000, "an error is one line"
        assert "allow_pickle" not in str(error), "no advice to run code out of a file"
        return str(error)
    return "a sample"


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_wrong_with_a_file_is_one_line(name: str, trees: Callable[[str], Path]) -> None:
    reader, root = READERS[name], trees(name)
    assert _outcome(reader, root) == "a sample"
    failures = []
    for number, file in enumerate(_kinds(root)):
        whole = (root / file).read_bytes()
        for way, broken in list(BREAKS.items())[0 if ALL else number % 4 :: 1 if ALL else 4]:
            (root / file).write_bytes(broken(whole))
            try:
                _outcome(reader, root)
            except Exception as error:
                failures.append(f"{file} {way}: {type(error).__name__} {error}"[:200])
        (root / file).write_bytes(whole)
    assert not failures, "\n".join(failures)
    assert _outcome(reader, root) == "a sample", "the tree is as it was"


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_missing_a_folder_or_a_pipe_is_one_line(
    name: str, trees: Callable[[str], Path]
) -> None:
    reader, root = READERS[name], trees(name)
    for file in _kinds(root):
        path, aside = root / file, root / f"{file}.aside"
        path.rename(aside)
        _outcome(reader, root)
        path.mkdir()
        _outcome(reader, root)
        path.rmdir()
        os.mkfifo(path)
        _outcome(reader, root)
        path.unlink()
        aside.rename(path)
    assert _outcome(reader, root) == "a sample"


# Wrong numbers that a file of another type, unit or layout would give without a word


def _replaced(root: Path, pattern: str, change: Callable[[bytes], bytes]) -> str:
    file = next(path for path in sorted(root.rglob(pattern)) if path.is_file())
    file.write_bytes(change(file.read_bytes()))
    return file.name


def _doubled(data: bytes) -> bytes:
    return np.frombuffer(data, "<f4").astype("<f8").tobytes()


def _far(data: bytes) -> bytes:
    values = np.frombuffer(data, "<f4").copy()
    values[0] = 3e8
    return values.tobytes()


def _scaled(column: int, width: int, scale: float) -> Break:
    def change(data: bytes) -> bytes:
        rows = np.frombuffer(data, "<f4").reshape(-1, width).copy()
        rows[:, column] *= scale
        return rows.tobytes()

    return change


def _arrays(**changes: Callable[[dict], np.ndarray]) -> Break:
    def change(data: bytes) -> bytes:
        arrays = parse_npz("a", data)
        arrays |= {name: make(arrays) for name, make in changes.items()}
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    return change


def _turned(data: bytes) -> bytes:
    image = Image.open(io.BytesIO(data))
    tags, file = image.getexif(), io.BytesIO()
    tags[0x0112] = 3
    image.save(file, "JPEG", exif=tags)
    return file.getvalue()


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


SILENT: list[tuple[str, str, Break, str]] = [
    ("nuscenes", "samples/LIDAR_TOP/*.bin", _doubled, "float64"),
    ("semantickitti", "velodyne/*.bin", _doubled, "float64"),
    ("nuscenes", "samples/LIDAR_TOP/*.bin", _far, "m from the origin"),
    ("semantickitti", "velodyne/*.bin", _far, "m from the origin"),
    ("nuscenes", "samples/LIDAR_TOP/*.bin", _scaled(3, 5, 1 / 255), "intensities of 0..1"),
    ("semantickitti", "velodyne/*.bin", _scaled(3, 4, 255), "remissions that are not 0..1"),
    ("nuscenes", "CAM_FRONT/*.jpg", _turned, "EXIF"),
    ("scannet", "color/*.jpg", _turned, "EXIF"),
    ("flickr30k", "flickr30k-images/*.jpg", _turned, "EXIF"),
    ("flickr30k", "flickr30k-images/*.jpg", lambda data: data[: len(data) // 2], "truncated"),
    ("referit", "images/*.jpg", lambda data: data[: len(data) // 2], "truncated"),
    ("flickr30k", "*.npz", _arrays(bbox=lambda a: a["bbox"] / [100, 80, 100, 80]), "shares"),
    ("referit", "*.npz", _arrays(bbox=lambda a: _corners(a["bbox"])), "x, y, width, height"),
    ("flickr30k", "*.npz", _arrays(bbox=lambda a: a["bbox"] * 1.8), "resized"),
    ("flickr30k", "*.npz", _arrays(cls_prob=lambda a: np.log(a["cls_prob"])), "softmax"),
    ("referit", "*.npz", _arrays(cls_prob=lambda a: a["cls_prob"] * 2), "not 1"),
    (
        "scanrefer",
        "scene0000_00.txt",
        lambda data: re.sub(rb"=.*", b"= " + b"0 " * 16, data, count=1),
        "not a rotation",
    ),
    ("scanrefer", "scene0000_00.npz", _arrays(boxes=lambda a: a["boxes"] * 1000), "m from the origin"),
]


@pytest.mark.parametrize(("name", "pattern", "change", "reason"), SILENT)
def test_numbers_of_another_type_unit_or_layout_are_refused(
    tmp_path: Path, name: str, pattern: str, change: Break, reason: str
) -> None:
    reader, root = READERS[name], tmp_path / "tree"
    reader.write(root)
    file = _replaced(root, pattern, change)
    with pytest.raises(FrameError, match=re.escape(reason)) as caught:
        reader.read(root)
    assert file in str(caught.value), "the message names the file"


def test_a_gray_photo_of_16_bits_keeps_its_brightness(tmp_path: Path) -> None:
    KittiTree(tmp_path, ("08",))
    gray = np.random.default_rng(0).integers(0, 1 << 16, (37, 124)).astype(np.uint16)
    for path in tmp_path.rglob("*.png"):
        Image.fromarray(gray).save(path)
    source = SemanticKITTI(tmp_path)
    for size in ((37, 124), (20, 62)):
        photo = decode(source.read(source.list_samples()[0], ReadOptions(image_size=size)).images[0])
        assert abs(photo.mean() - gray.mean() / 256) < 2


def test_a_cropped_photo_of_kitti_is_refused(tmp_path: Path) -> None:
    KittiTree(tmp_path, ("08",))
    own = "718.856 0 607.1928 45.38 0 718.856 185.2157 -0.11 0 0 1 0.0038"
    calib = tmp_path / "sequences/08/calib.txt"
    calib.write_text(re.sub(r"P2: .*", f"P2: {own}", calib.read_text()))
    source = SemanticKITTI(tmp_path)
    for size, fits in (((376, 1241), True), ((352, 1216), False)):
        for path in tmp_path.rglob("*.png"):
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(path)
        try:
            source.read(source.list_samples()[0], FRAMES)
        except FrameError as error:
            assert not fits and "neither cropped nor resized" in str(error)
        else:
            assert fits


def test_regions_as_many_as_channels_are_not_turned(tmp_path: Path) -> None:
    """The folder's other files say which side of a square array is which."""
    rng = np.random.default_rng(0)
    for rows in (True, False):
        folder = tmp_path / str(rows)
        folder.mkdir()
        for image, count in (("1", 5), ("2", 4)):
            arrays = region_arrays(rng, count, 5)
            kept = arrays["x"].T if rows else arrays["x"]
            np.savez(folder / f"{image}.npz", **arrays | {"x": kept})
            found = BottomUpFolder(folder, ("man", "dog"))
        arrays = parse_npz("1", (folder / "1.npz").read_bytes())
        wanted = arrays["x"] if rows else arrays["x"].T
        np.testing.assert_array_equal(found.read("1", None).features, wanted)


def test_an_open_bracket_before_many_blanks_takes_no_time() -> None:
    start = time.monotonic()
    with pytest.raises(FrameError, match=r"CHAIN/TYPE"):
        read_sentence("a", "[/EN#1/people" + " " * 200_000)
    assert time.monotonic() - start < 2


def test_any_error_of_an_adapter_is_one_bad_frame_with_its_place() -> None:
    class Odd(MadeUp):
        def read(self, keyframe, options):
            return np.zeros(3).reshape(2, 2)

    source = Odd()
    with pytest.raises(
        FrameError, match=r"^frame-00000: ValueError: cannot reshape.*test_broken_inputs.py:\d+"
    ):
        FRAME.read(source, source.list_samples(None)[0], FRAMES)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"points": np.zeros((3, 3))}, "points is float64, not float32"),
        ({"points": np.full((40, 3), 1e6, np.float32)}, "m from the origin"),
        ({"labels": np.full(40, 9, np.uint8)}, "labels that are not 0..3"),
        (
            {"pair_pixels": np.full((1, 3), 99, np.int16), "pair_points": np.zeros(1, np.int32)},
            "image of pair",
        ),
        ({"images": ()}, "0 images for 2 cameras"),
    ],
)
def test_an_adapter_is_told_what_is_wrong_with_its_frame(change: dict, reason: str) -> None:
    class Odd(MadeUp):
        def read(self, keyframe, options):
            frame = made_up_frame(keyframe.token, options)
            count = 40
            cut = {name: getattr(frame, name)[:count] for name in ("points", "features", "sweep", "labels")}
            none = {"pair_points": np.empty(0, np.int32), "pair_pixels": np.empty((0, 3), np.int16)}
            return replace(frame, **cut | none | change)

    source = Odd()
    with pytest.raises(FrameError, match=re.escape(reason)):
        FRAME.read(source, source.list_samples(None)[0], FRAMES)
