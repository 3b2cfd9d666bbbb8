"""CLIP as the encoder: what a box is of its patches; a student on top of it trains, grounds and comes back."""

import io
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from scenelift.errors import DataError
from scenelift.teachers.clip import DenseClip
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.weights import LoadedClip
from scenelift.train.method import Progress
from tests.made.captions import SIZE, made_up_image
from trainables.phrases import clip_student
from trainables.phrases.batch import PhraseCollate
from trainables.phrases.clip_student import ClipStudent, region_means
from trainables.phrases.config import ContrastConfig, DistillationConfig, EncoderConfig
from trainables.phrases.method import Ckd

CONFIG = EncoderConfig(features="clip", hidden=16, channels=8)
TEACHER = TeacherConfig(
    weights="random", templates="plain", value_path="residual", activation="gelu", image_size=(32, 48)
)
WORDS = ("a", "blue", "car", "dog", "man", "red", "street", "the")


def clip():
    """A CLIP of two layers with CLIP's own tokenizer, the same each time."""
    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 32}
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text)
    loaded = LoadedClip(model, open_clip.SimpleTokenizer(context_length=20), "plain", "residual", "gelu")
    return DenseClip(TEACHER, loaded, clip_student.NOTHING)


@pytest.fixture(scope="module")
def teacher():
    return clip()


@pytest.fixture
def student(teacher):
    torch.manual_seed(1)
    return ClipStudent(CONFIG, WORDS, TEACHER, teacher)


def photographed(token, regions=6):
    rng = np.random.default_rng(list(token.encode()))
    file = io.BytesIO()
    pixels = rng.integers(0, 200, 3) + rng.integers(0, 50, (*SIZE, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return replace(made_up_image(token, regions), photo=file.getvalue())


def test_a_region_is_the_mean_of_what_it_covers():
    """Against a grid that is cut into a thousand small cells."""
    rng = torch.Generator().manual_seed(0)
    grid = torch.rand(2, 3, 4, 5, generator=rng)
    fine = grid.repeat_interleave(50, 2).repeat_interleave(40, 3)
    boxes = torch.tensor([[[20, 30, 120, 90], [0, 0, 200, 200], [7, 8, 9, 10]]] * 2)
    found = region_means(grid, boxes / 200)
    for image in range(2):
        for region, (x1, y1, x2, y2) in enumerate(boxes[image].tolist()):
            wanted = fine[image, :, y1:y2, x1:x2].mean((1, 2))
            torch.testing.assert_close(found[image, region], wanted, rtol=1e-4, atol=1e-5)
    assert (region_means(grid, torch.zeros(2, 1, 4)) == 0).all(), "padding"


def test_it_trains_and_clip_stays_as_it_is(student, teacher):
    before = [parameter.clone() for parameter in teacher.parameters()]
    samples = [photographed("a", 6), photographed("b", 4)]
    collate = PhraseCollate(student.vocabulary, captions=3, photo_size=student.photo_size)
    method = Ckd(student, ContrastConfig(), DistillationConfig())
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    found = []
    for step in range(40):
        batch = collate(samples, step).to(torch.device("cpu"))
        loss = method(batch, Progress(step, 0, 1))["contrast"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < found[0] - 0.05
    assert all(torch.equal(one, two) for one, two in zip(before, teacher.parameters(), strict=True))
    assert student.size == 2 * ((24 + 1) * 16 + (16 + 1) * 8), "two layers each"


def test_what_is_remembered_is_what_is_seen(student):
    samples = [photographed("a", 6), photographed("b", 4)]
    collate = PhraseCollate(student.vocabulary, captions=3, photo_size=student.photo_size)
    first = student.encode(collate(samples))
    assert set(student.images) == {"a", "b"} and "a red dog" in student.texts
    for one, two in zip(first, student.encode(collate(samples)), strict=True):
        torch.testing.assert_close(one, two)
    alone = student.encode(collate(samples[1:]))[0]
    torch.testing.assert_close(
        alone[0], first[0][1, :4], msg="fewer regions in the batch than when it was seen"
    )


def test_grounding_is_what_training_compares(student):
    sample = photographed("a")
    batch = PhraseCollate(student.vocabulary, captions=9, photo_size=student.photo_size)([sample])
    regions, said = student.encode(batch)
    scores = student.ground(replace(sample, posteriors=None))
    rows = [[phrase.text for phrase in sample.phrases].index(text) for text in batch.texts]
    np.testing.assert_allclose(scores[rows], (said @ regions[0].T).detach(), atol=1e-5)


def test_saved_and_loaded_it_grounds_the_same(student, tmp_path, monkeypatch):
    monkeypatch.setattr(clip_student, "build_teacher", lambda config, vocabulary: clip())
    student.save(tmp_path / "student")
    again = ClipStudent.load(tmp_path / "student")
    assert again.teacher == TEACHER and again.vocabulary.known == WORDS
    np.testing.assert_allclose(again.ground(photographed("a")), student.ground(photographed("a")), atol=1e-6)
    assert (tmp_path / "student" / "student.safetensors").stat().st_size < 20_000, "CLIP is not in it"


def test_images_without_photos_are_refused(student):
    with pytest.raises(DataError, match=r"has no photo; make shards with --options\.photos true"):
        PhraseCollate(student.vocabulary, photo_size=student.photo_size)([made_up_image("a")])
