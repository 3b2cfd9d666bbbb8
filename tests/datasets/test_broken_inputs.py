"""Protects users with broken files: whatever is wrong with any file of any data set, one line names it.

Every file of a small tree of each data set is broken in many ways (`benchmarks.hostile`); each way ends in a sample
or in an error of ours, never in a traceback, and within a shard job one broken file is one bad sample.
"""

import io
import os
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.hostile.cases import Bench, Case
from benchmarks.hostile.formats import mutations_of
from benchmarks.hostile.judge import same
from benchmarks.hostile.subjects import DATA, FRAMES
from datasets.captions.regions import BottomUpFolder
from datasets.common.files import parse_npz
from datasets.flickr30k.sentences import read_sentence
from datasets.semantickitti.source import SemanticKITTI
from scenelift.errors import FrameError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME
from scenelift.samples.images import decode
from tests.made.frames import MadeUp, made_up_frame
from tests.made.kitti_tree import KittiTree
from tests.made.phrase_tree import region_arrays

Break = Callable[[bytes], bytes]
ALL = bool(os.environ.get("ALL_BROKEN_INPUTS"))
"""Every way for every file, minutes; else every 30th, another one for the next file."""
SLOW = ("a bomb", "six gigabytes")
"""Ways that take seconds, or much memory where they are not refused; `benchmarks.hostile` has limits for them."""


@pytest.mark.parametrize("name", DATA)
def test_a_broken_file_is_refused_in_one_line_or_read_rightly(name: str, tmp_path: Path) -> None:
    """A bounded part of `python -m benchmarks.hostile`, which has commands and files of our own too."""
    bench, failures = Bench(tmp_path), []
    for number, file in enumerate(DATA[name].kinds(bench.tree(name))):
        ways = [way for way in mutations_of(file) if way not in SLOW]
        for way in ways[0 if ALL else number % 30 :: 1 if ALL else 30]:
            _, verdict = bench.tried(Case(name, str(file), way))
            if verdict.kind == "failed":
                failures.append(f"{file}: {way}: {verdict.why}")
    assert not failures, "\n".join(failures)
    again = DATA[name].read(tmp_path / name)
    assert same(again.value, bench.whole[name].value), "the files are as they were"


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
    subject, root = DATA[name], tmp_path / "tree"
    subject.write(root)
    file = _replaced(root, pattern, change)
    with pytest.raises(FrameError, match=re.escape(reason)) as caught:
        subject.read(root)
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
