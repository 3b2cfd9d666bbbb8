"""The 2D teacher: a frozen CLIP ViT whose patches are named one by one, as MaskCLIP does (CLIP2Scene 3.1).

Nothing here upsamples: scores stay on the patch grid and are sampled bilinearly at the pixels that points
project to. No call needs a network. Outputs are made under `no_grad`, not `inference_mode`, because losses
keep them for their backward pass.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from scenelift.errors import TeacherError
from scenelift.geometry.segments import sample
from scenelift.io.console import say
from scenelift.samples.vocabulary import Vocabulary, prompt_templates
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.open_clip_internals import (
    check_towers,
    encode_text,
    resized_positions,
    set_activation,
    value_tokens,
    warn_of_another_open_clip,
)
from scenelift.teachers.weights import LoadedClip, load_clip

PROMPTS_AT_ONCE = 256


def build_teacher(
    config: TeacherConfig, vocabulary: Vocabulary, device: torch.device | str = "cpu"
) -> DenseClip:
    """The teacher of a data set's classes, frozen, on the device; its prompts are encoded there.

    Raises TeacherError if the weights are not on this machine or do not fit, if the model is not a plain ViT, or
    if a tiny model's tokenizer does not know a word of the vocabulary.
    """
    known = prompt_templates()
    if config.templates not in ("model", *known):
        raise TeacherError(f"teacher.templates: {config.templates!r} is not one of {', '.join(known)}")
    warn_of_another_open_clip()
    loaded = load_clip(config.model, config.weights, vocabulary)
    check_towers(config.model, loaded.clip)
    if loaded.assumed and config.activation == "model":
        _say_assumed(config, loaded.activation)
    resolved = dataclasses.replace(
        config,
        templates=loaded.templates if config.templates == "model" else config.templates,
        value_path=loaded.value_path if config.value_path == "model" else config.value_path,
        activation=loaded.activation if config.activation == "model" else config.activation,
    )
    return DenseClip(resolved, loaded, vocabulary, device)


def _say_assumed(config: TeacherConfig, activation: str) -> None:
    """OpenAI's weights need quickgelu, most others gelu; with the wrong one scores are worse, without a word."""
    plain = config.model.removesuffix("-quickgelu")
    other = plain if activation == "quickgelu" else f"{plain}-quickgelu"
    whose = "weights that were not trained by OpenAI" if activation == "quickgelu" else "OpenAI's weights"
    say(
        f"{config.weights} cannot say its activation: {activation} is assumed, which teacher.model {config.model} "
        f"has; for {whose} give --teacher.model {other}, or --teacher.activation"
    )


class DenseClip(nn.Module):
    """A frozen CLIP ViT that scores every image patch against the classes of a vocabulary.

    Shapes: B images of H x W pixels, D embedding channels, C classes, an h x w grid of patches, M pixels.
    """

    mean: Tensor
    std: Tensor
    positions: Tensor
    text: Tensor

    def __init__(
        self,
        config: TeacherConfig,
        loaded: LoadedClip,
        vocabulary: Vocabulary,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary
        self.tokenizer = loaded.tokenizer
        self.clip: Any = loaded.clip
        set_activation(self.clip, loaded.activation)
        set_activation(self.visual, config.activation)
        self.requires_grad_(False)
        self.grid_size = _grid(config.image_size, self.visual.patch_size)
        self.register_buffer("mean", torch.tensor(loaded.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(loaded.std).view(3, 1, 1), persistent=False)
        self.register_buffer("positions", resized_positions(self.visual, self.grid_size), persistent=False)
        super().train(False)
        self.to(device)
        self.register_buffer("text", self.text_features(vocabulary), persistent=False)

    @property
    def visual(self) -> VisionTransformer:
        """The image tower."""
        return self.clip.visual

    def train(self, mode: bool = True) -> DenseClip:
        """A teacher stays as it is, whatever the modules around it do."""
        return self

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """Value-path output of each patch after `ln_post`, before CLIP's projection.

        images: uint8 [B, 3, H, W], RGB. Returns [B, width, h, w].
        """
        assert images.dtype == torch.uint8 and images.ndim == 4 and images.shape[1] == 3
        pixels = images.float() / 255
        if tuple(pixels.shape[-2:]) != self.config.image_size:
            pixels = F.interpolate(pixels, self.config.image_size, mode="bilinear", antialias=True)
        if self.config.normalize:
            pixels = (pixels - self.mean) / self.std
        with self._arithmetic(images):
            tokens = value_tokens(self.visual, pixels, self.positions, self.config.value_path)
            return self.visual.ln_post(tokens).transpose(1, 2).unflatten(2, self.grid_size)

    def _arithmetic(self, images: Tensor) -> AbstractContextManager[Any]:
        if not images.is_cuda:
            return nullcontext()
        return torch.autocast("cuda", torch.bfloat16, enabled=self.config.precision == "bfloat16")

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Patch features in the space of the text: float32 [B, D, h, w], unit length over D.

        images: uint8 [B, 3, H, W], RGB.
        """
        return self.project(self.tokens(images))

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        """What `tokens` gave, in the space of the text: float32 [B, D, h, w], unit length over D."""
        with torch.autocast(tokens.device.type, enabled=False):
            return F.normalize(torch.einsum("bkhw,kd->bdhw", tokens.float(), self.visual.proj), dim=1)

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings of whole sentences: float32 [P, D], unit rows."""
        device = self.visual.proj.device
        encoded = [
            encode_text(self.clip, self.tokenizer(list(prompts[start : start + PROMPTS_AT_ONCE])).to(device))
            for start in range(0, len(prompts), PROMPTS_AT_ONCE)
        ]
        return F.normalize(torch.cat(encoded).float(), dim=1)

    @torch.no_grad()
    def text_features(self, vocabulary: Vocabulary, templates: str | None = None) -> Tensor:
        """Class embeddings: the mean over a class's words and templates, float32 [C, D], unit rows.

        templates: of `prompt_templates`; None: the teacher's own. `self.text` holds those of its vocabulary.
        """
        prompts = vocabulary.prompts(templates or self.config.templates)
        encoded = self.encode_prompts([prompt for group in prompts for prompt in group])
        means = [group.mean(0) for group in encoded.split([len(group) for group in prompts])]
        return F.normalize(torch.stack(means), dim=1)

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Cosine of every patch with every class: float32 [B, C, h, w], for images uint8 [B, 3, H, W]."""
        return self.compare(self.features(images))

    @torch.no_grad()
    def compare(self, features: Tensor) -> Tensor:
        """Cosine of projected patches [B, D, h, w] with every class: float32 [B, C, h, w]."""
        with torch.autocast(features.device.type, enabled=False):
            return torch.einsum("bdhw,cd->bchw", features, self.text)

    @torch.no_grad()
    def pixel_scores(self, images: Tensor, image_index: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Cosine of M pixels with every class: float32 [M, C].

        images: uint8 [B, 3, H, W]; image_index, rows, cols: integers [M] (0..B-1, 0..H-1, 0..W-1).
        """
        height, width = images.shape[-2:]
        return sample(self.scores(images), image_index, rows, cols, (height, width))

    @cached_property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that change with the weights, the prompts, the resolution, or the reading."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.clip.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().float().contiguous().numpy().tobytes())
        reading = dataclasses.asdict(self.config) | {"weights": "", "vocabulary": self.vocabulary.version}
        digest.update(json.dumps(reading, sort_keys=True).encode())
        digest.update(json.dumps(prompt_templates()[self.config.templates]).encode())
        return digest.hexdigest()[:12]


def _grid(image_size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    if any(pixels % patch or pixels < patch for pixels, patch in zip(image_size, patch_size, strict=True)):
        raise TeacherError(
            f"teacher.image_size {image_size} must be multiples of the ViT's patch {patch_size}"
        )
    height, width = (pixels // patch for pixels, patch in zip(image_size, patch_size, strict=True))
    return height, width
