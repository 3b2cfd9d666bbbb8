"""Runs of every trainable carry the tags that the dashboard filters by, and say what they change of a preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scenelift.config import build as configuration
from scenelift.config.build import difference
from scenelift.nn.config import NETWORKS, NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.runs import run as running
from scenelift.samples.config import ReadOptions
from scenelift.shards.write import write_shards
from tests.made.frames import VOCABULARY, MadeUp
from trainables.common.config import CLIP_TEACHER, SegmentationData
from trainables.common.training import network_name, student_name
from trainables.distill import task as distill
from trainables.evaluate import run as evaluate
from trainables.evaluate.config import EvaluationData
from trainables.finetune import task as finetune
from trainables.finetune.config import LabelsConfig
from trainables.pretrain import task as pretrain

TAGS = {"dataset", "teacher", "student", "protocol", "seed"}
SIZE = (56, 96)


class BeginError(Exception):
    """Instead of a run: what it would have been given."""


@pytest.fixture(scope="module")
def shards(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("made-up") / "shards"
    write_shards(MadeUp(8), None, str(folder), ReadOptions(image_size=SIZE), 4, progress=False)
    return str(folder)


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, Any], tuple[Any, ...]]:
    """Calls a trainable's `run` up to the point at which its run would begin."""

    def began(*given: Any) -> Any:
        raise BeginError(*given)

    for module in (running, evaluate):
        monkeypatch.setattr(module, "experiment", began)

    def begin(run: Callable[[Any], None], config: Any) -> tuple[Any, ...]:
        with pytest.raises(BeginError) as caught:
            run(config)
        return caught.value.args

    return begin


@pytest.mark.ray
@pytest.mark.parametrize(
    ("trainable", "teacher", "protocol"),
    [
        (distill, "tiny", "label-free"),
        (pretrain, "tiny", "pre-training"),
        (finetune, "none", "finetune 100%"),
    ],
)
def test_every_training_can_be_found_by_its_tags(
    trainable: Any, teacher: str, protocol: str, shards: str, begin: Any
) -> None:
    preset = trainable.PRESETS["synthetic"]
    config = replace(preset, data=SegmentationData(shards), loop=replace(preset.loop, seed=3))
    command, made, tags, presets, *_ = begin(trainable.run, config)
    assert f"trainables.{command}.task" == trainable.__name__
    found = {"teacher": teacher, "protocol": protocol, "seed": "3", "student": "tiny"}
    assert found.items() <= tags.items() and tags.keys() >= TAGS
    assert difference(made, presets) == ("synthetic", {"loop.seed": 3})


@pytest.mark.ray
def test_a_timm_network_is_the_teacher_of_a_pretraining(shards: str, begin: Any) -> None:
    preset = pretrain.PRESETS["synthetic"]
    images = replace(preset.images, model="resnet18", weights="random")
    tags = begin(pretrain.run, replace(preset, data=SegmentationData(shards), images=images))[2]
    assert tags["teacher"] == tags["images"] == "resnet18"


@pytest.mark.ray
def test_epochs_that_few_labels_need_are_nothing_that_was_changed(shards: str, begin: Any) -> None:
    config = replace(finetune.PRESETS["synthetic"], data=SegmentationData(shards), labels=LabelsConfig(0.25))
    made, presets = (begin(finetune.run, config)[place] for place in (1, 3))
    assert made.loop.epochs > config.loop.epochs
    assert difference(made, presets) == ("synthetic", {"labels.fraction": 0.25})


@pytest.mark.ray
def test_an_evaluation_is_found_by_the_teacher_or_by_the_student(
    shards: str, begin: Any, tmp_path: Path
) -> None:
    preset = replace(evaluate.PRESETS["synthetic"], data=EvaluationData(shards))
    alone = begin(evaluate.run, preset)[2]
    assert (alone["teacher"], alone["protocol"]) == ("tiny", "label-free") and "student" not in alone
    student = Student(
        StudentConfig(network=NETWORKS["tiny"]), 1, torch.randn(3, 4), VOCABULARY, {"semantic": 4}
    )
    student.save(tmp_path / "student")
    config = replace(preset, student=str(tmp_path / "student"), with_teacher=False)
    _, _, tags, presets, _ = begin(evaluate.run, config)
    assert tags.keys() >= TAGS and tags["student"] == "tiny"
    assert tags["student_name"] == student_name(configuration.flatten(student.config))
    changed = {"student": config.student, "with_teacher": False}
    assert difference(config, presets) == ("synthetic", changed)


@pytest.mark.parametrize("trainable", [distill, pretrain, finetune, evaluate])
def test_each_preset_is_told_from_the_others(trainable: Any) -> None:
    for name, preset in trainable.PRESETS.items():
        found, options = difference(preset, trainable.PRESETS)
        assert options == {} and (
            found == name or difference(trainable.PRESETS[found], {name: preset})[1] == {}
        )
    config = replace(distill.PRESETS["nuscenes"], teacher=replace(CLIP_TEACHER, weights="here.pt"))
    assert difference(config, distill.PRESETS) == ("nuscenes", {"teacher.weights": "here.pt"})


def test_a_network_has_its_name_whatever_its_engine_and_however_it_was_stored() -> None:
    for name, network in NETWORKS.items():
        leaves = configuration.flatten(replace(network, engine="torch"))
        assert network_name(leaves) == name
        assert network_name({key: str(value) for key, value in leaves.items()}) == name
    assert network_name(configuration.flatten(NetworkConfig(stem=5))) == "custom"
    ours = StudentConfig(network=NetworkConfig(5, (7,), (9,)))
    assert student_name(configuration.flatten(ours)).startswith("U-Net 5 (7,) (9,), ")
