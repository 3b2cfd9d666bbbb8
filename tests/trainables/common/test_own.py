"""The preset `own`: settings follow from the shards, are said with a reason, and give way to what is given."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenelift.config.cli import parse
from scenelift.errors import ConfigError
from scenelift.samples.config import ReadOptions
from scenelift.samples.frame import FRAME, Frame
from scenelift.samples.kind import MANIFEST, Manifest, ShardFile
from scenelift.shards.write import encode
from tests.made.frames import MadeUp, made_up_frame
from trainables.distill.config import PRESETS as DISTILL
from trainables.evaluate.config import PRESETS as EVALUATE
from trainables.finetune.config import PRESETS as FINETUNE
from trainables.pretrain.config import PRESETS as PRETRAIN


def shards(folder: Path, frames: list[Frame], sweeps: int = 0) -> str:
    """A folder of these frames, written without Ray."""
    folder.mkdir()
    summary = {"samples": len(frames), "bad": [], "about": FRAME.summarize(frames, MadeUp())}
    data = bytes(encode(FRAME, frames, summary))
    (folder / "shard-00000.parquet").write_bytes(data)
    file = ShardFile("shard-00000.parquet", len(frames), len(data), hashlib.sha256(data).hexdigest())
    about = FRAME.describe([summary["about"]], MadeUp(), ReadOptions(sweeps, frames[0].image_size))
    told = Manifest(
        "frame", FRAME.schema_version, "mine", "1", "train", about, len(frames), len(data), (file,), (), ""
    )
    (folder / MANIFEST).write_text(told.to_json())
    return str(folder)


def grid(token: str, apart: float, features: tuple[float, ...], size: tuple[int, int] = (8, 12)) -> Frame:
    """A frame whose points lie on a grid, a known distance from their neighbours."""
    frame = made_up_frame(token, ReadOptions(image_size=size))
    steps = np.stack(np.meshgrid(*[np.arange(12)] * 3), -1).reshape(-1, 3)
    points = (steps * apart).astype(np.float32)
    cells = np.resize(np.array(features, np.float32), len(points))[:, None]
    return dataclasses.replace(
        frame,
        points=points,
        features=cells,
        sweep=np.zeros(len(points), np.uint8),
        labels=np.ones(len(points), np.uint8),
    )


@pytest.mark.parametrize(
    ("apart", "features", "size", "scale", "offset"),
    [
        (0.05, (0.2, 1.0), 0.1, 1.0, 0.0),
        (0.026, (3.0, 255.0), 0.05, 1 / 255, 0.0),
        (0.12, (9.0, 40000.0), 0.2, 1 / 65535, 0.0),
        (3.0, (0.0, 0.5), 0.4, 1.0, 1.0),
        (0.001, (1e6, 1e5), 0.02, 1e-6, 0.0),
    ],
)
def test_voxels_follow_from_spacing_and_features(
    apart: float, features: tuple[float, ...], size: float, scale: float, offset: float, tmp_path: Path
) -> None:
    folder = shards(tmp_path / "shards", [grid(f"frame-{n}", apart, features) for n in range(2)])
    for presets in (DISTILL, FINETUNE, PRETRAIN):
        voxels = parse(presets, ["own", "--data.train", folder], "").student.voxels
        assert (voxels.size, voxels.feature_offset) == (size, offset)
        assert voxels.feature_scale == pytest.approx(scale, rel=1e-5)


def test_windows_follow_from_photos_steps_from_frames_and_each_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [grid(f"frame-{number}", 0.05, (1.0,), (304, 480)) for number in range(3)]
    folder = shards(tmp_path / "shards", frames)
    config = parse(DISTILL, ["own", "--data.train", folder], "")
    assert config.augmentation.image.size == config.teacher.image_size == (240, 384)
    low, high = config.augmentation.image.aspect
    assert low < 480 / 304 < high and config.augmentation.image.crop
    assert (config.loop.batch, config.scale.workers, config.augmentation.lidar_sweeps) == (3, 1, 0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 8 and all(line.startswith("own: --") and ": " in line[6:] for line in said)
    score = parse(EVALUATE, ["own", "--data.test", folder], "")
    assert score.teacher == config.teacher


def test_what_is_given_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shards(tmp_path / "shards", [grid("frame-1", 0.05, (255.0,))])
    words = ["--student.voxels.size", "0.3", "--teacher", "tiny", "--loop.batch", "2"]
    config = parse(DISTILL, ["own", "--data.train", folder, *words], "")
    assert config.student.voxels.size == 0.3 and config.teacher == DISTILL["synthetic"].teacher
    assert config.loop.batch == 2 and config.student.voxels.feature_scale == pytest.approx(1 / 255, rel=1e-5)
    said = capsys.readouterr().err
    assert "voxels.size" not in said and "teacher" not in said


def test_without_shards_there_is_nothing_to_make_it_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"made from your shards; give their folder: --data.train DIR"):
        parse(DISTILL, ["own"], "")
    config: Any = parse(DISTILL, ["own", "--data.train", str(tmp_path / "nowhere")], "")
    with pytest.raises(ConfigError, match="there is no"):
        config.check_here()
