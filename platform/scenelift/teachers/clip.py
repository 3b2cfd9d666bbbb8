"""The 2D teacher: a frozen CLIP ViT whose patches are named one by one, as MaskCLIP does (CLIP2Scene 3.1).

Nothing here upsamples: scores stay on the patch grid and are sampled bilinearly at the pixels that points
project to. No call needs a network.
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
from torch import Tensor

from scenelift.config.outside import is_outside, load
from scenelift.errors import ConfigError, TeacherError
from scenelift.io.console import say
from scenelift.samples.vocabulary import Vocabulary, prompt_templates
from scenelift.teachers.config import GROUP, TeacherConfig
from scenelift.teachers.open_clip_internals import (
    check_towers,
    encode_text,
    resized_positions,
    set_activation,
    value_tokens,
    warn_of_another_open_clip,
)
from scenelift.teachers.teacher import Teacher
from scenelift.teachers.weights import LoadedClip, load_clip

PROMPTS_AT_ONCE = 256


def build_teacher(
    config: TeacherConfig, vocabulary: Vocabulary, device: torch.device | str = "cpu"
) -> Teacher:
    """The teacher of a data set's classes, frozen, on the device, where its prompts are encoded: a CLIP, or one
    from outside (`scenelift.config.outside`). Raises SceneliftError for one that cannot be built."""
    if is_outside(config.model, GROUP):
        make = load(config.model, GROUP, "teacher.model")
        teacher = make(config, vocabulary)
        if not isinstance(teacher, Teacher):
            raise ConfigError(
                f"--teacher.model {config.model} makes a {type(teacher).__name__}, which does not derive from "
                "scenelift.teachers.teacher.Teacher; docs/your_own_teacher.md shows a whole one"
            )
        return teacher.prepare(device)
    return build_clip(config, vocabulary, device)


def build_clip(
    config: TeacherConfig, vocabulary: Vocabulary, device: torch.device | str = "cpu"
) -> DenseClip:
    """The CLIP of a config. Raises TeacherError if the weights are not on this machine or do not fit, if the model
    is not a plain ViT, or if a tiny model's tokenizer does not know a word of the vocabulary."""
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


class DenseClip(Teacher):
    """A frozen CLIP ViT that scores every image patch against the classes of a vocabulary."""

    mean: Tensor
    std: Tensor
    positions: Tensor

    def __init__(
        self,
        config: TeacherConfig,
        loaded: LoadedClip,
        vocabulary: Vocabulary,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, vocabulary)
        self.tokenizer = loaded.tokenizer
        self.clip: Any = loaded.clip
        set_activation(self.clip, loaded.activation)
        set_activation(self.visual, config.activation)
        self.grid_size = _grid(config.image_size, self.visual.patch_size)
        self.register_buffer("mean", torch.tensor(loaded.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(loaded.std).view(3, 1, 1), persistent=False)
        self.register_buffer("positions", resized_positions(self.visual, self.grid_size), persistent=False)
        self.prepare(device)

    @property
    def token_width(self) -> int:
        """K: the width of the image tower."""
        return int(self.visual.proj.shape[0])

    @property
    def visual(self) -> VisionTransformer:
        """The image tower."""
        return self.clip.visual

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
