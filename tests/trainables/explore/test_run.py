"""`trainables.explore` shows plain clouds without labels, students and shards, and says what is wrong in a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scenelift.errors import ConfigError
from scenelift.samples.caption import CAPTIONED_IMAGE
from scenelift.samples.room import ROOM
from tests.made.validation import student
from trainables.explore.config import PRESETS
from trainables.explore.run import METHODS, run


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.npy"
    np.save(path, rng.uniform(-9, 9, (501, 4)).astype(np.float32))
    return path


def test_a_cloud_becomes_a_page_with_and_without_a_student(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = scan.parent / "page.html"
    run(replace(PRESETS["synthetic"], data=str(scan), export=out))
    assert f"Written: {out}" in capsys.readouterr().out and '"name": "student"' not in out.read_text()
    student().save(scan.parent / "student")
    run(replace(PRESETS["synthetic"], data=str(scan), student=str(scan.parent / "student"), export=out))
    assert '"name": "student"' in out.read_text() and '"name": "confidence"' in out.read_text()
    with pytest.raises(ConfigError, match=r"start 3 is not there: .*scan.npy has 1, 0 to 0"):
        run(replace(PRESETS["synthetic"], data=str(scan), start=3, export=out))


def test_students_that_find_boxes_are_known_for_rooms_and_images() -> None:
    assert {*METHODS.grounders} == {ROOM.name, CAPTIONED_IMAGE.name}
