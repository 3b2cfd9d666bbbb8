"""What a training takes of its shards follows from its config, and is checked before anything is scored."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from scenelift.config.build import override
from scenelift.errors import DataError
from scenelift.points.config import ImageAugmentation
from scenelift.runs.config import DataConfig
from scenelift.samples.frame import FRAME, FrameSet
from scenelift.samples.kind import MANIFEST, Kind, Manifest
from scenelift.samples.room import ROOM
from scenelift.shards.read import Shards
from tests.made.frames import VOCABULARY
from trainables.common.config import SegmentationData
from trainables.common.needs import Needs
from trainables.distill.config import PRESETS as DISTILL
from trainables.distill.task import DistillTask
from trainables.evaluate import config as evaluate_config
from trainables.evaluate import run as evaluate
from trainables.ground.task import open_rooms
from trainables.pretrain.config import PRESETS as PRETRAIN

ABOUT = FrameSet(VOCABULARY, (448, 832), 2, 150, ("front",), 9, {"front": 5}, {"car": 3, "ignored": 6})
COMMAND = "python -m datasets.shard nuscenes --root /data --image_size 224 416 --out data/a"


def shards(**changes: Any) -> Shards:
    about = json.loads(json.dumps(asdict(replace(ABOUT, **changes))))
    return Shards(
        "data/a", Manifest("frame", FRAME.schema_version, "d", "1", "train", about, 1, 1, (), (), COMMAND)
    )


EVERYTHING = Needs(2, True, True, True, ImageAugmentation(crop=True, size=(224, 416)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"lidar_sweeps": 1},
            ("holds 1 sweeps", "--augmentation.lidar_sweeps 1", "--lidar_sweeps 2 --out "),
        ),
        ({"superpixels": 0}, ("no superpixels", f"{COMMAND[:-13]} --superpixels 150 --out data/a-")),
        ({"pairs": {"front": 0}}, ("no point falls into an image", "trainables.finetune")),
        ({"pairs": {}, "cameras": ()}, ("there are no images",)),
        ({"labels": None}, ("no labels to learn from",)),
        ({"labels": {"car": 0, "ignored": 9}}, ("no labels to learn from",)),
        (
            {"image_size": (112, 208)},
            ("--augmentation.image.size 112 208", "--image_size 448 832 --out data/a-"),
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_type(changes: dict[str, Any], says: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        EVERYTHING.check(shards(**changes))
    said = str(caught.value)
    assert all(words in said for words in says) and "\n" not in said, said
    Needs().check(shards(**changes))


def test_photos_that_lose_something_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    EVERYTHING.check(shards())
    assert not capsys.readouterr().err
    EVERYTHING.check(shards(image_size=(224, 416)))
    assert "warning" in (said := capsys.readouterr().err) and "--image_size 448 832" in said


def written(folder: Path, kind: str, about: dict[str, Any]) -> str:
    """A folder with a manifest and no samples."""
    kinds: dict[str, Kind[Any]] = {"frame": FRAME, "room": ROOM}
    manifest = Manifest(kind, kinds[kind].schema_version, "d", "1", "train", about, 0, 0, (), (), COMMAND)
    folder.mkdir()
    (folder / MANIFEST).write_text(manifest.to_json())
    return str(folder)


def test_a_teacher_is_not_scored_where_no_image_shows_a_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = (
        written(tmp_path / name, "frame", asdict(replace(ABOUT, pairs=pairs)))
        for name, pairs in (("train", {"front": 5}), ("test", {"front": 0}))
    )
    preset = DISTILL["synthetic"]
    task = DistillTask(replace(preset, data=SegmentationData(train, test)))
    assert task.teacher is None and "the teacher is not scored on it" in capsys.readouterr().err
    assert DistillTask(replace(preset, data=SegmentationData(train, train))).teacher == preset.teacher
    with pytest.raises(DataError, match="--with_teacher false"):
        evaluate.run(replace(evaluate.PRESETS["synthetic"], data=evaluate_config.EvaluationData(test)))


def test_rooms_of_another_protocol_are_refused(tmp_path: Path) -> None:
    about = {"features": 3, "classes": ["chair"], "words": {"chair": 1}, "sentences": 1, "missing": 0}
    folders = [
        written(tmp_path / name, "room", {**about, "protocol": f"scanrefer, {name}"})
        for name in ("detected boxes", "true instances")
    ]
    with pytest.raises(DataError, match=r"detected boxes and .*true instances: .*the same --candidates"):
        open_rooms(DataConfig(*folders))


def test_needs_follow_from_the_config() -> None:
    config = DISTILL["nuscenes"]
    assert Needs.of_images(config.augmentation).lidar_sweeps == 2
    assert Needs.of_images(override(config, {"augmentation.lidar_sweeps": 0}).augmentation).lidar_sweeps == 0
    assert Needs.of_images(PRETRAIN["slidr"].augmentation, True).superpixels


def test_the_papers_sizes_are_large_enough(capsys: pytest.CaptureFixture[str]) -> None:
    """480 x 640 of ScanNet, and twice the windows of nuScenes."""
    for name, size in (("paper_nuscenes", (448, 832)), ("paper_scannet", (480, 640))):
        Needs.of_images(DISTILL[name].augmentation).check(shards(image_size=size))
    assert not capsys.readouterr().err
