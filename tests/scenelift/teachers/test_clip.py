"""The teacher: patches through the value path, pixels as if upsampled, nothing fetched, nothing trained."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scenelift.errors import TeacherError
from scenelift.samples.vocabulary import Vocabulary, prompt_templates
from scenelift.teachers.clip import DenseClip, build_teacher
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.open_clip_internals import TESTED_OPEN_CLIP, resized_positions
from scenelift.teachers.weights import LoadedClip

pytestmark = pytest.mark.internals  # of open_clip

STREET = Vocabulary(
    name="street",
    classes=("car", "road", "tree"),
    words=(("car", "automobile"), ("road",), ("tree",)),
    colors=((255, 0, 0), (0, 255, 0), (0, 0, 255)),
)
SIZE = (32, 48)


def test_the_installed_open_clip_is_the_one_that_was_tested() -> None:
    assert open_clip.__version__ == TESTED_OPEN_CLIP


def small_clip(seed: int = 0, layer_scale: float | None = None) -> open_clip.CLIP:
    """An open_clip CLIP with a ViT of 3 layers on a square 32 x 32 image."""
    torch.manual_seed(seed)
    vision = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 32}
    return open_clip.CLIP(
        embed_dim=24,
        vision_cfg=vision | {"ls_init_value": layer_scale},
        text_cfg={"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    )


def teacher(clip: open_clip.CLIP | None = None, trained_with: Any = "gelu", **fields: Any) -> DenseClip:
    reading: dict[str, Any] = {
        "templates": "plain",
        "value_path": "residual",
        "activation": "gelu",
        "image_size": SIZE,
    }
    config = TeacherConfig(weights="random", **(reading | fields))
    tokenizer = open_clip.SimpleTokenizer(context_length=20)
    loaded = LoadedClip(clip or small_clip(), tokenizer, "plain", "residual", trained_with)
    return DenseClip(config, loaded, STREET)


def pictures(count: int = 2, size: tuple[int, int] = SIZE, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def layer_norm(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    scaled = (x - x.mean()) / np.sqrt(x.var() + norm.eps)
    return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def linear(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def last_block_input(model: DenseClip, images: torch.Tensor) -> np.ndarray:
    """What open_clip's own forward feeds to the last block, caught by a hook."""
    caught = []
    block = model.visual.transformer.resblocks[-1]
    handle = block.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    with torch.no_grad():
        model.visual((images.float() / 255 - model.mean) / model.std)
    handle.remove()
    return caught[0].numpy()


@pytest.mark.parametrize("value_path", ["value", "residual"])
@pytest.mark.parametrize("activation", ["gelu", "quickgelu"])
def test_a_patch_equals_the_value_path_written_out_in_numpy(value_path: str, activation: str) -> None:
    model = teacher(value_path=value_path, activation=activation, image_size=(32, 32))
    images = pictures(1, (32, 32))
    row, col = 2, 3
    x = last_block_input(model, images)[0, 1 + row * 4 + col].astype(np.float64)
    block = model.visual.transformer.resblocks[-1]
    value = (
        block.attn.in_proj_weight.detach().numpy()[128:] @ layer_norm(x, block.ln_1)
        + block.attn.in_proj_bias.detach().numpy()[128:]
    )
    out = linear(value, block.attn.out_proj)
    if value_path == "residual":
        out = x + out
        hidden = linear(layer_norm(out, block.ln_2), block.mlp.c_fc)
        if activation == "gelu":
            hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        else:
            hidden = hidden / (1 + np.exp(-1.702 * hidden))
        out = out + linear(hidden, block.mlp.c_proj)
    expected = layer_norm(out, model.visual.ln_post) @ model.visual.proj.numpy()
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(model.features(images)[0, :, row, col], expected, atol=1e-5)


@pytest.mark.parametrize("value_path", ["value", "residual"])
def test_layer_scale_equals_scaled_output_layers(value_path: str) -> None:
    folded = small_clip()
    with torch.no_grad():
        for block in folded.visual.transformer.resblocks:
            for layer in (block.attn.out_proj, block.mlp.c_proj):
                layer.weight.mul_(0.1)
                layer.bias.mul_(0.1)
    scaled = teacher(small_clip(layer_scale=0.1), value_path=value_path).features(pictures())
    torch.testing.assert_close(scaled, teacher(folded, value_path=value_path).features(pictures()))
    assert (scaled - teacher(value_path=value_path).features(pictures())).abs().max() > 1e-3


def test_positions_of_the_trained_size_stay_untouched() -> None:
    torch.manual_seed(0)
    visual = open_clip.transformer.VisionTransformer(
        image_size=224, patch_size=16, width=8, layers=1, heads=1, mlp_ratio=1, output_dim=4
    )
    assert torch.equal(resized_positions(visual, (14, 14)), visual.positional_embedding)
    wide = resized_positions(visual, (14, 26))
    assert wide.shape == (1 + 14 * 26, 8)
    assert torch.equal(wide[0], visual.positional_embedding[0])
    square = visual.positional_embedding[1:].detach().reshape(14, 14, 8).permute(2, 0, 1)[None]
    expected = F.interpolate(square, (14, 26), mode="bicubic", align_corners=False)[0]
    torch.testing.assert_close(wide[1:].reshape(14, 26, 8).permute(2, 0, 1), expected)


def test_pixel_labels_are_the_argmax_of_the_upsampled_scores() -> None:
    model, images = teacher(), pictures(2, (64, 96))
    generator = torch.Generator().manual_seed(1)
    index, rows, cols = (torch.randint(0, high, (500,), generator=generator) for high in (2, 64, 96))
    upsampled = F.interpolate(model.scores(images), (64, 96), mode="bilinear")
    expected = upsampled[index, :, rows, cols]
    score, label = model.pixel_scores(images, index, rows, cols).max(1)
    torch.testing.assert_close(model.pixel_scores(images, index, rows, cols), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(score, expected.max(1).values, atol=1e-5, rtol=0)
    assert label.dtype == torch.int64
    assert (label == expected.argmax(1)).float().mean() > 0.99
    assert len(model.pixel_scores(images, index[:0], rows[:0], cols[:0])) == 0


def test_scores_are_cosines_and_features_unit() -> None:
    model = teacher()
    features = model.features(pictures())
    assert features.shape == (2, 24, 4, 6)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2, 4, 6))
    assert model.tokens(pictures()).shape == (2, 64, 4, 6)
    expected = torch.einsum("bdhw,cd->bchw", features, model.text)
    torch.testing.assert_close(model.scores(pictures()), expected)


def test_scores_stay_float32_under_autocast() -> None:
    model, images = teacher(), pictures()
    with torch.autocast("cpu", torch.bfloat16):
        scores = model.scores(images)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, model.scores(images), atol=0.05, rtol=0)


def test_class_embeddings_are_the_mean_of_normalized_prompts() -> None:
    model = teacher(templates="clip2scene")
    assert len(set(prompt_templates()["clip2scene"])) == 85
    torch.testing.assert_close(model.text.norm(dim=1), torch.ones(3))
    sentences = [t.format(word) for word in ("car", "automobile") for t in prompt_templates()["clip2scene"]]
    assert len(sentences) == 170
    with torch.no_grad():
        one_by_one = torch.cat([model.clip.encode_text(model.tokenizer([text])) for text in sentences])
    mean = F.normalize(F.normalize(one_by_one, dim=1).mean(0), dim=0)
    torch.testing.assert_close(model.text[0], mean, atol=1e-5, rtol=0)


def test_activation_is_set_in_the_image_tower_alone() -> None:
    model = teacher(activation="gelu", trained_with="quickgelu")
    assert type(model.visual.transformer.resblocks[0].mlp.gelu) is nn.GELU
    assert type(model.clip.transformer.resblocks[0].mlp.gelu) is open_clip.transformer.QuickGELU
    quick = teacher(activation="quickgelu", trained_with="quickgelu")
    torch.testing.assert_close(model.text, quick.text)
    assert (model.features(pictures()) - quick.features(pictures())).abs().max() > 1e-5


def test_images_of_another_size_are_resized_and_normalized() -> None:
    model, images = teacher(), pictures(1)
    doubled = images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert model.features(doubled).shape == (1, 24, 4, 6)
    difference = model.features(doubled) - model.features(images)
    assert (
        difference.abs().mean()
        < 0.25 * (model.features(pictures(1, seed=9)) - model.features(images)).abs().mean()
    )
    assert (teacher(normalize=False).features(images) - model.features(images)).abs().max() > 1e-3


def test_no_gradient_reaches_the_teacher_but_its_output_serves_a_loss() -> None:
    model, images = teacher(), pictures()
    model.train()
    assert not model.training and not model.visual.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    student = torch.randn(4, 24, requires_grad=True)
    target = model.features(images)[0].flatten(1)[:, :4].T
    loss = -(student * target).sum() + (student @ model.text.T).logsumexp(1).sum()
    loss.backward()
    assert student.grad is not None and student.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.scores(images).requires_grad


def test_fingerprint_follows_everything_that_changes_a_label() -> None:
    first = teacher().fingerprint
    assert teacher().fingerprint == first and len(first) == 12
    others = [
        teacher(small_clip(seed=1)),
        teacher(value_path="value"),
        teacher(image_size=(32, 32)),
        teacher(templates="tiny"),
        teacher(normalize=False),
        teacher(activation="quickgelu"),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 1 + len(others)


@pytest.mark.slow
def test_a_named_open_clip_model_is_built_and_its_file_read(tmp_path: Path) -> None:
    config = TeacherConfig(model="ViT-S-32-alt", weights="random", templates="plain", image_size=(64, 96))
    model = build_teacher(config, STREET)
    assert model.config.value_path == "residual" and model.config.activation == "gelu"
    assert model.scores(pictures()).shape == (2, 3, 2, 3)
    path = tmp_path / "weights.pt"
    torch.save(model.clip.state_dict(), path)
    again = build_teacher(
        TeacherConfig(model="ViT-S-32-alt", weights=str(path), templates="plain", image_size=(64, 96)), STREET
    )
    assert again.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "ViT-B-16", "weights": "openai"}, "vit_base_patch16_clip_224.openai"),
        ({"model": "ViT-B-16", "weights": "nowhere.pt"}, "no weights file nowhere.pt"),
        ({"model": "ViT-B-17", "weights": "openai"}, "ViT-B-17"),
        ({"model": "RN50", "weights": "random"}, "plain ViT"),
        ({"model": "ViT-B-16-SigLIP", "weights": "random"}, "plain ViT"),
        ({"model": "coca_ViT-B-32", "weights": "random"}, "plain ViT"),
        ({"model": "tiny", "weights": "nowhere.safetensors"}, "trainables.teacher"),
        ({"model": "tiny", "weights": "random", "templates": "poems"}, "clip2scene"),
        ({"model": "tiny", "weights": "random", "image_size": (100, 192)}, "multiples"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(
    fields: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("scenelift.teachers.weights.URL_CACHE", tmp_path)
    monkeypatch.setattr("scenelift.teachers.weights.try_to_load_from_cache", lambda *_: None)
    with pytest.raises(TeacherError, match=words) as caught:
        build_teacher(TeacherConfig(**fields), STREET)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_model_or_with_code_is_refused(tmp_path: Path) -> None:
    wrong, code = tmp_path / "wrong.pt", tmp_path / "code.pt"
    torch.save({"weight": torch.zeros(2)}, wrong)
    torch.save({"weight": nn.Linear(1, 1)}, code)
    for path in (wrong, code):
        with pytest.raises(TeacherError, match="does not fit"):
            build_teacher(TeacherConfig(model="ViT-S-32-alt", weights=str(path)), STREET)
    with pytest.raises(TeacherError, match="plain file"):
        build_teacher(TeacherConfig(model="tiny", weights=str(wrong)), STREET)
