"""A real rig that nobody planned for, read by a file of docs/examples: six cameras and a LiDAR with poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datasets.check.cameras import cameras
from scenelift.evaluation.overlays import points_on_photos
from scenelift.inference.labeler import Labeler
from scenelift.samples.config import ReadOptions
from scenelift.samples.conformance import check_source
from scenelift.samples.images import decode
from scenelift.samples.outside import open_source
from tests.made.students import speaking_student

ADAPTER = Path(__file__).parents[2] / "docs" / "examples" / "dgp.py"
SEEN = (5157, 11916, 11566, 10718, 10130, 9393)
"""Points of the first key frame inside each image (README of the data); ours leave a border of one pixel out."""


def test_the_example_is_short() -> None:
    lines = [line for line in ADAPTER.read_text().splitlines() if line.strip()]
    assert len(lines) <= 60


@pytest.mark.slow
def test_a_real_rig_is_lifted_labelled_and_drawn(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (real_data / "dgp").is_dir():
        pytest.skip(f"no real rig at {real_data / 'dgp'}")
    monkeypatch.syspath_prepend(ADAPTER.parent)
    monkeypatch.setenv("PYTHONPATH", "")
    source = open_source(f"{ADAPTER}:DGP", real_data / "dgp", "1")
    (frame,) = check_source(source, None, ReadOptions(image_size=(304, 480)), at_most=1)
    assert frame.points.shape == (47230, 3) and len(frame.cameras) == 6
    views = cameras(frame)
    assert all(0 <= least - len(view.depth) < 10 for least, view in zip(SEEN, views, strict=True))
    rig = json.loads(next((real_data / "dgp/scene_02/calibration").iterdir()).read_text())
    placed = dict(zip(rig["names"], rig["extrinsics"], strict=True))
    for view in views:
        assert view.found is not None and not view.mistake and np.median(view.found.error) < 0.6
        there = [placed[view.name]["translation"][axis] for axis in "xyz"]
        assert np.abs(view.found.position - there).max() < 0.15, (
            "in the vehicle, which moved a little in between"
        )
    labels = Labeler(speaking_student()).label_frame(frame)
    assert len(labels.ids) == 47230 and labels.ids.any()
    images = [decode(image) for image in frame.images]
    points_on_photos(
        tmp_path / "six.png", images, frame.cameras, [v.pixels for v in views], [v.depth for v in views]
    )
    assert (tmp_path / "six.png").stat().st_size > 100_000
