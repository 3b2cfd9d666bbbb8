"""The student names every point by text alone, and comes back from its files as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scenelift.errors import DataError, SceneliftError
from scenelift.nn.config import NetworkConfig, StudentConfig
from scenelift.nn.student import Student
from scenelift.points.collate import Collate
from scenelift.points.config import VoxelConfig
from tests.made.frames import VOCABULARY, made_up_frame

CONFIG = StudentConfig(VoxelConfig(2.0), NetworkConfig(8, (8,), (8,)))


def student():
    torch.manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(3, 16), dim=1)
    return Student(CONFIG, 1, text, VOCABULARY, {"semantic": 16}).eval()


def test_two_heads_have_the_parameters_of_the_specification():
    """clip2scene.md 9, point 7: two 512-d heads on MinkUNet14A are 99,328 parameters."""
    whole = Student(
        StudentConfig(),
        3,
        torch.eye(3, 512),
        VOCABULARY,
        {"semantic": 512, "local": 512},
    )
    assert whole.size == 8_013_152 + 99_328


def test_prediction_is_the_nearest_text_of_each_points_voxel():
    model, frame = student(), made_up_frame("frame-00001")
    batch = Collate(CONFIG.voxels, images=False)([frame])
    features = model(batch.voxels)
    embedding = features @ model.heads["semantic"].weight.T + model.heads["semantic"].bias
    want = [
        1 + int(np.argmax((embedding[voxel] @ model.text.T).detach().numpy())) for voxel in batch.point_voxel
    ]
    assert model.predict(frame).tolist() == want
    assert len(want) == frame.keyframe.sum()


def test_a_saved_student_predicts_the_same(tmp_path):
    model, frame = student(), made_up_frame("frame-00001")
    model.save(tmp_path / "student")
    again = Student.load(tmp_path / "student")
    assert again.vocabulary == VOCABULARY
    assert again.config == CONFIG
    assert np.array_equal(model.predict(frame), again.predict(frame))


def test_the_input_of_its_training_is_saved_with_it(tmp_path):
    """Whoever predicts with it need not know what was added to the points' features."""
    frame, before = made_up_frame("frame-00001"), student()
    voxels = replace(CONFIG.voxels, feature_offset=-500.0)
    shifted = Student(replace(CONFIG, voxels=voxels), 1, before.text, VOCABULARY, {"semantic": 16}).eval()
    shifted.load_state_dict(before.state_dict())
    shifted.save(tmp_path / "student")
    lowered = replace(frame, features=frame.features - 500)
    assert np.array_equal(Student.load(tmp_path / "student").predict(frame), before.predict(lowered))
    assert not np.array_equal(before.predict(frame), before.predict(lowered)), "the offset matters here"


def test_similarities_stay_in_float32_under_autocast():
    model = student()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.class_logits(torch.randn(4, 8).bfloat16()).dtype == torch.float32


def test_a_folder_without_a_student_is_said(tmp_path):
    with pytest.raises(SceneliftError, match="does not hold a student"):
        Student.load(tmp_path)
    student().save(tmp_path)
    description = (tmp_path / "student.json").read_text()
    (tmp_path / "student.json").write_text(description.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(SceneliftError, match="schema version 2, this one reads 1"):
        Student.load(tmp_path)
    (tmp_path / "student.safetensors").write_bytes(b"short")
    with pytest.raises(SceneliftError, match="does not hold a student"):
        Student.load(tmp_path)


def test_features_of_another_scale_than_in_training_are_refused(tmp_path):
    """Intensities of 0..255 and remissions of 0..1 have the same form, and one is read as the other."""
    model, frame = student().train(), made_up_frame("frame-00001")
    model(Collate(CONFIG.voxels, images=False)([frame]).voxels)
    model.save(tmp_path / "student")
    again = Student.load(tmp_path / "student")
    again.predict(frame)
    again.predict(replace(frame, features=frame.features / 2))
    again.predict(replace(frame, features=frame.features * 0))
    for scale in (1 / 255, 255):
        with pytest.raises(DataError, match=r"frame-00001 has features up to .* trained on features up to"):
            again.predict(replace(frame, features=frame.features * np.float32(scale)))
    student().predict(replace(frame, features=frame.features * 255))  # not trained: it knows no scale


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = student()
    with torch.no_grad():
        model.heads["semantic"].weight[0, 0] = torch.nan
    model.save(tmp_path / "student")
    with pytest.raises(SceneliftError, match=r"semantic\.weight has numbers that are not finite"):
        Student.load(tmp_path / "student")
