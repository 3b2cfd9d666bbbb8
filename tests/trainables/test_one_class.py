"""Data with a single class: it trains, is scored, is drawn, and nothing divides by zero."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenelift.errors import DataError
from scenelift.evaluation import pictures, plots
from scenelift.evaluation.metrics import confusion, kappa
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import VoxelConfig
from scenelift.samples.config import ReadOptions
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.train.method import Progress
from tests.made.frames import made_up_frame
from trainables.common import scoring
from trainables.common.scoring import Evaluation
from trainables.distill.config import PRESETS, DistillLoss, SelfTrainingConfig
from trainables.distill.method import Clip2Scene, make_student
from trainables.finetune.config import FinetuneLoss
from trainables.finetune.method import FineTuning

ONE = Vocabulary("one", ("car",), (("car",),), ((9, 9, 9),))
SMALL = StudentConfig(VoxelConfig(8.0, "geometry", 1 / 255), NetworkConfig(4, (4,), (4,)))
SIZE = (14, 24)


def frames() -> list[Any]:
    made = [made_up_frame(f"frame-{i:05d}", ReadOptions(image_size=SIZE)) for i in range(2)]
    return [replace(frame, labels=np.minimum(frame.labels, 1)) for frame in made]


@pytest.mark.parametrize("form", ["classes", "points", "divergence"])
def test_it_is_distilled(form: Any) -> None:
    teacher = build_teacher(TeacherConfig(weights="random", image_size=SIZE), ONE)
    loss = DistillLoss(
        semantic_form=form, spatial_temporal=1.0, class_weight_power=0.5, confident_fraction=0.7
    )
    own = SelfTrainingConfig(0, threshold=0.5, scope="point", unpaired=1.0)
    config = replace(PRESETS["synthetic"], student=SMALL, loss=loss, self_training=own)
    method = Clip2Scene(make_student(config, teacher, 1), teacher, loss, own).train()
    losses = method(Collate(SMALL.voxels, grid=loss.grid)(frames()), Progress(0, 0, 1))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in method.student.parameters() if p.grad is not None)


def test_a_score_of_nothing_is_refused() -> None:
    nothing = {group: np.zeros((1, 1), np.int64) for group in scoring.GROUPS}
    with pytest.raises(DataError, match="no labeled point that student predicts"):
        scoring.require_points(Evaluation(ONE, {"student": nothing}), "shards")


def test_it_is_fine_tuned_scored_and_drawn(tmp_path: Path) -> None:
    student = Student(SMALL, 1, torch.zeros(1, 0), ONE, {"classifier": 1})
    losses = FineTuning(student, FinetuneLoss()).train()(
        Collate(SMALL.voxels, images=False)(frames()), Progress(0, 0, 1)
    )
    assert all(torch.isfinite(value) for value in losses.values())
    frame = frames()[0]
    truth, labels = frame.labels[frame.keyframe], student.eval().predict(frame)
    matrix = confusion(truth, labels, 1)
    evaluation = Evaluation(ONE, {"student": dict.fromkeys(scoring.GROUPS, matrix)})
    assert scoring.metrics(evaluation)["label_free/miou"] == 1 and kappa(matrix) == 0
    assert "car" in scoring.table(evaluation)
    plots.confusion(tmp_path / "confusion.png", matrix, ONE)
    judged = pictures.errors(truth, labels)
    pictures.birds_eye(
        tmp_path / "birds.png", frame.points[frame.keyframe], {"truth": truth}, ONE, 9.0, judged
    )
    assert len(list(tmp_path.iterdir())) == 2
