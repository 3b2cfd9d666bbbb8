"""The tiny CLIP: a file that describes itself, and a tokenizer of few words that is CLIP's own in small."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from scenelift.errors import TeacherError
from scenelift.samples.vocabulary import Vocabulary, prompt_templates
from scenelift.teachers.clip import build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.tiny import TinyModel, TinyTokenizer, build_tiny, is_tiny, load_tiny, save_tiny

WORDS = ("car", "driveable surface", "traffic_cone", "tree")
SENTENCES = [template.format(word) for template in prompt_templates()["tiny"] for word in WORDS]
STREET = Vocabulary(
    name="street", classes=WORDS, words=tuple((word,) for word in WORDS), colors=((0, 0, 0),) * 4
)


def small(**fields: Any) -> TinyModel:
    return TinyModel.of(
        SENTENCES, **({"image_size": (32, 48), "patch": (8, 8), "width": 64, "embedding": 32} | fields)
    )


def test_tokens_keep_their_order_and_their_end() -> None:
    model = small()
    original = open_clip.SimpleTokenizer()(SENTENCES, context_length=20)
    tokens = TinyTokenizer(model)(SENTENCES)
    assert tokens.shape == original.shape
    assert torch.equal(torch.tensor(model.ids)[tokens], original)
    assert torch.equal(tokens.argmax(1), original.argmax(1))
    assert (tokens.max(1).values == len(model.ids) - 1).all()
    flat = original.flatten()
    order = flat.argsort(stable=True)
    assert (tokens.flatten()[order].diff() >= 0).all()
    assert tokens.unique().numel() == flat.unique().numel()


def test_text_features_equal_those_of_clip_with_all_its_words() -> None:
    """The small embedding table is a selection of rows: a sentence means the same in both."""
    model = small()
    clip = build_tiny(model).eval()
    full = build_tiny(dataclasses.replace(model, ids=tuple(range(49408)))).eval()
    state = clip.state_dict()
    table = torch.randn(49408, model.text_width)
    table[list(model.ids)] = state["token_embedding.weight"]
    full.load_state_dict(state | {"token_embedding.weight": table})
    with torch.no_grad():
        got = clip.encode_text(TinyTokenizer(model)(SENTENCES))
        expected = full.encode_text(open_clip.SimpleTokenizer()(SENTENCES, context_length=20))
    torch.testing.assert_close(got, expected)


def test_words_it_was_not_built_for_are_named() -> None:
    with pytest.raises(TeacherError, match="zeppelin"):
        TinyTokenizer(small())(["a photo of a zeppelin."])
    with pytest.raises(TeacherError, match="longer than"):
        TinyTokenizer(small())(["a photo of a " + "car " * 30])


def test_a_file_builds_the_same_teacher_again(tmp_path: Path) -> None:
    model = small(value_path="residual", templates="plain", provenance='{"seed": 1}')
    torch.manual_seed(3)
    clip = build_tiny(model)
    path = tmp_path / "folder" / "tiny.safetensors"
    save_tiny(path, clip, model)
    again, description = load_tiny(path)
    assert description == model and is_tiny(path)
    for name, tensor in clip.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=2e-3, rtol=1e-3)
    config = TeacherConfig(weights=str(path), image_size=(32, 48))
    teacher = build_teacher(config, STREET)
    assert teacher.config.value_path == "residual" and teacher.config.templates == "plain"
    assert teacher.fingerprint == build_teacher(config, STREET).fingerprint
    images = torch.randint(0, 256, (1, 3, 32, 48), dtype=torch.uint8)
    assert teacher.scores(images).shape == (1, 4, 4, 6)


def test_random_tiny_is_the_same_every_time_and_leaves_the_generator_alone() -> None:
    config = TeacherConfig(weights="random")
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build_teacher(config, STREET)
    assert torch.rand(1) == expected
    assert build_teacher(config, STREET).fingerprint == first.fingerprint


def test_the_value_path_of_a_wide_vit_takes_the_trained_grid() -> None:
    teacher = build_teacher(TeacherConfig(weights="random"), STREET)
    assert teacher.grid_size == (16, 32)
    assert torch.equal(teacher.positions, teacher.visual.positional_embedding)


def test_other_files_are_refused(tmp_path: Path) -> None:
    broken, plain = tmp_path / "broken.safetensors", tmp_path / "plain.pt"
    broken.write_bytes(b"not a file of tensors")
    torch.save({"weight": torch.zeros(1)}, plain)
    with pytest.raises(TeacherError, match="not a complete safetensors file"):
        load_tiny(broken)
    with pytest.raises(TeacherError, match="is not a tiny teacher"):
        load_tiny(plain)
    tiny = tmp_path / "tiny.safetensors"
    save_tiny(tiny, build_tiny(small()), small())
    with pytest.raises(TeacherError, match="a tiny model"):
        build_teacher(TeacherConfig(model="ViT-B-16", weights=str(tiny)), STREET)
    assert np.prod(tiny.stat().st_size) < 5e6
