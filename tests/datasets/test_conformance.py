"""Protects what all adapters have in common, the check itself, and the page that shows how to write one's own."""

from __future__ import annotations

import dataclasses
import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.nuscenes.source import NuScenes
from datasets.scannet.source import ScanNet
from datasets.semantickitti.source import SemanticKITTI
from scenelift.errors import DataError, FrameError
from scenelift.samples.config import ReadOptions
from scenelift.samples.conformance import check_source
from scenelift.samples.frame import Frame
from tests.made import frames as made_up
from tests.made import own_data
from tests.made.kitti_tree import KittiTree
from tests.made.nuscenes_tree import SIZE, Tree
from tests.made.scannet_tree import ScanNetTree


def test_nuscenes(real_nuscenes: Path, tmp_path: Path) -> None:
    (frame,) = check_source(NuScenes(real_nuscenes, "v1.0-mini"), "mini_train", ReadOptions(2))
    assert len(frame.images) == 6 and len(frame.pair_points) > 10000
    frames = check_source(Tree(tmp_path).source(), None, ReadOptions(2, SIZE))
    assert len(frames) == 4


def test_semantickitti(real_data: Path, tmp_path: Path) -> None:
    (frame,) = check_source(
        SemanticKITTI(real_data / "semantickitti"), "val", ReadOptions(image_size=(160, 528))
    )
    assert len(frame.pair_points) > 10000
    check_source(KittiTree(tmp_path).source(), "train", ReadOptions(2, (16, 48)))


def test_scannet(real_data: Path, tmp_path: Path) -> None:
    (frame,) = check_source(ScanNet(real_data / "scannet"), "train", ReadOptions(image_size=(240, 320)))
    assert not frame.images
    frames = check_source(ScanNetTree(tmp_path).source(), None, ReadOptions(image_size=(24, 32)))
    assert len(frames) == 3 and all(len(frame.images) == 3 for frame in frames)


def test_the_made_up_source() -> None:
    check_source(made_up.MadeUp(), "train", ReadOptions(2, (8, 12)))


def test_an_adapter_without_labels_images_and_sweeps(tmp_path: Path) -> None:
    tree = KittiTree(tmp_path)
    for path in (tmp_path / "sequences/08").iterdir():
        if path.name != "velodyne":
            path.rename(tmp_path / path.name)
    check_source(tree.source(), "val", ReadOptions(image_size=(16, 48)))


# The check finds what it is there for


class _Random:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: Frame) -> Frame:
        self.calls += 1
        return dataclasses.replace(frame, timestamp=self.calls)


def _shift(frame: Frame, column: int, by: int) -> Frame:
    pixels = frame.pair_pixels.copy()
    pixels[-1:, column] += by
    return dataclasses.replace(frame, pair_pixels=pixels)


MISTAKES: dict[str, Callable[[Frame], Frame]] = {
    "same bytes": _Random(),
    "row of pair_pixels": lambda frame: _shift(frame, 1, 8),
    "column of pair_pixels": lambda frame: _shift(frame, 2, -12),
    "image of pair_pixels": lambda frame: _shift(frame, 0, 2),
    "pair_points": lambda frame: dataclasses.replace(frame, pair_points=frame.pair_points + np.int32(60)),
    "ordered by image": lambda frame: dataclasses.replace(
        frame, pair_points=frame.pair_points[::-1], pair_pixels=frame.pair_pixels[::-1]
    ),
    "labels that are not 0..3": lambda frame: dataclasses.replace(
        frame, labels=np.full(len(frame.points), 4, np.uint8), sweep=np.zeros(len(frame.points), np.uint8)
    ),
    "of sweeps are ignored": lambda frame: dataclasses.replace(
        frame, labels=np.ones(len(frame.points), np.uint8)
    ),
    "sweeps follow": lambda frame: dataclasses.replace(frame, sweep=frame.sweep[::-1]),
    "no more sweeps": lambda frame: dataclasses.replace(frame, sweep=frame.sweep + np.uint8(frame.sweep > 0)),
    "points of its own": lambda frame: dataclasses.replace(frame, sweep=frame.sweep * 0 + np.uint8(1)),
    "points that are not finite": lambda frame: dataclasses.replace(
        frame, points=frame.points * np.float32("nan")
    ),
    "features that are not finite": lambda frame: dataclasses.replace(
        frame, features=frame.features * np.float32("inf")
    ),
    "camera names are unique": lambda frame: dataclasses.replace(frame, cameras=("front", "front")),
    "image of front is": lambda frame: dataclasses.replace(frame, images=(_jpeg((8, 11)), frame.images[1])),
}


def _jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((*size, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@dataclasses.dataclass
class Mistaken(made_up.MadeUp):
    mistake: str = ""

    def read(self, keyframe: made_up.MadeUpKeyframe, options: ReadOptions) -> Frame:
        return MISTAKES[self.mistake](super().read(keyframe, options))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_and_named(mistake: str) -> None:
    with pytest.raises(DataError, match=mistake):
        check_source(Mistaken(mistake=mistake), "train", ReadOptions(2, (8, 12)))


@dataclasses.dataclass
class Careless(made_up.MadeUp):
    """Takes any split for train, and holds a table."""

    table: bytes = b""
    tokens: tuple[str, ...] = ()

    def list_samples(self, split: str | None) -> list[made_up.MadeUpKeyframe]:
        return [made_up.MadeUpKeyframe(token) for token in self.tokens] or super().list_samples("train")


def test_a_careless_listing_is_found() -> None:
    options = ReadOptions(0, (8, 12))
    with pytest.raises(DataError, match="an unknown split must be a DataError"):
        check_source(Careless(), "train", options)
    with pytest.raises(DataError, match="tokens are unique"):
        check_source(Careless(tokens=("a", "b", "a")), "train", options)

    class Heavy(made_up.MadeUp):
        def __reduce__(self) -> tuple[Any, ...]:
            return bytes, (bytes(2 << 20),)

    with pytest.raises(DataError, match=r"\d+ bytes pickled; let it hold no tables"):
        check_source(Heavy(), "train", options)


# The page about one's own data


def test_the_pages_example_is_an_adapter_of_less_than_50_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = own_data.example()
    lines = [line for line in code.splitlines() if line.strip()]
    assert f"of {len(lines)} lines" in own_data.PAGE.read_text()
    (tmp_path / "the_pages_own_adapter.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    mine: Any = importlib.import_module("the_pages_own_adapter").Mine
    own_data.record(tmp_path / "data", "monday", 3)
    own_data.record(tmp_path / "data", "friday", 2)
    source = mine(tmp_path / "data", "1")
    assert len(source.list_samples(None)) == 5
    for frame in check_source(source, "train", ReadOptions(image_size=(18, 32))):
        x, y, z = frame.points[frame.pair_points].T
        assert (x > 1).all() and len(x) > 20
        expected = np.stack([18 - 40 * z / x, 32 - 40 * y / x], 1) / 2
        assert np.abs(frame.pair_pixels[:, 1:] + 0.25 - expected).max() < 0.6, "pixels of half the size"
    (tmp_path / "data/monday/labels/001.bin").write_bytes(bytes(9))
    with pytest.raises(FrameError, match="monday/001 has 9 labels and 200 points"):
        source.read(source.list_samples("train")[1], ReadOptions(image_size=(18, 32)))
