"""What can be looked at: plain clouds of any size, shards, runs; and what is said of anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenelift.config.cli import parse
from scenelift.errors import ConfigError, DataError
from scenelift.inference.files.clouds import Chunk
from scenelift.viewer.config import PRESETS, ExploreConfig
from scenelift.viewer.run import Methods, settle
from scenelift.viewer.scans.places import FileScans, of_run, open_place, run_of, thinned, trained_by
from scenelift.viewer.scans.view import PlainCloud, View


@pytest.mark.parametrize("sizes", [[7], [3, 4, 5], [1] * 23, [100], []])
@pytest.mark.parametrize("most", [2, 5, 1000])
def test_a_large_cloud_is_thinned_evenly(sizes: list[int], most: int) -> None:
    total, chunks, start = sum(sizes), [], 0
    for size in sizes:
        numbers = np.arange(start, start + size)
        chunks.append(Chunk(np.stack([numbers] * 3, 1).astype(np.float64), {"number": numbers}))
        start += size
    chunk, step = thinned(chunks, most)
    assert np.array_equal(chunk.points[:, 0], np.arange(0, total, step)) and len(chunk.points) <= most
    assert step == 1 or -(-total // (step // 2)) > most
    if sizes:
        assert np.array_equal(chunk.columns["number"], chunk.points[:, 0])


def test_plain_files_show_intensity_color_and_far_coordinates(tmp_path: Path) -> None:
    points = np.array([[500_000.25, 5_400_000.5, 300], [500_001.25, 5_400_001.5, 301]])
    columns = {
        "intensity": np.array([1, 2]),
        "red": np.array([65535, 0]),
        "green": np.array([0, 256]),
        "blue": np.array([0, 0]),
    }
    view = View.of_cloud("scan", PlainCloud("scan", Chunk(points, columns)))
    assert np.ptp(view.points, axis=0) == pytest.approx([1, 1, 1]) and np.abs(view.points).max() < 2
    assert view.features.tolist() == [[1], [2]] and view.colors is not None
    assert view.colors.tolist() == [[255, 0, 0], [0, 1, 0]]
    np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32).tofile(tmp_path / "000000.bin")
    found = open_place(str(tmp_path))
    assert isinstance(found.scans, FileScans) and len(found.scans.read(0).points) == 9


def test_nothing_to_look_at_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no point clouds"):
        open_place(str(tmp_path))
    with pytest.raises(ConfigError, match="nothing to look at; give --data"):
        settle(ExploreConfig(), Methods())
    with pytest.raises(ConfigError, match="--against is a second student"):
        ExploreConfig(against="runs/x/student")
    with pytest.raises(ConfigError, match=r"server\.port is at most 65535|server\.port"):
        parse(PRESETS, ["--server.port", "70000"], "explore")


def test_a_run_names_its_shards_and_its_student(tmp_path: Path) -> None:
    run = tmp_path / "one"
    (run / "student").mkdir(parents=True)
    (run / "config.yaml").write_text("schema_version: 1\ndata:\n  train: a\n  test: b\n")
    assert of_run(str(run)) == ("b", str(run / "student")) and of_run(str(tmp_path)) is None
    assert run_of(str(run / "student")) == str(run) == run_of(str(run / "checkpoints" / "step-3"))
    assert run_of(str(tmp_path)) is None and trained_by(str(run / "student")) == "distill"
