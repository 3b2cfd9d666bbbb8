"""The interface of 2D teachers to trainings and scores: a frozen network that compares the patches of an image with
text. CLIP is one (`scenelift.teachers.clip`); others come from outside (docs/your_own_teacher.md)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scenelift.geometry.segments import sample
from scenelift.samples.vocabulary import Vocabulary
from scenelift.teachers.config import TeacherConfig


class Teacher(nn.Module, ABC):
    """A frozen network that scores every image patch against the classes of a vocabulary.

    A teacher of one's own is made with its config and a vocabulary, and defines `tokens` and `encode_prompts`, and
    `project` and `token_width` if its patches are not in the space of the text by themselves. It may read
    `config.weights`, `config.image_size` and the others. `scenelift.teachers.conformance.check_teacher` checks it.

    Shapes: B images of H x W pixels, K token channels, D channels of the text, C classes, an h x w grid of patches
    that tiles the image, rows first, M pixels. Outputs are made under `no_grad`, not `inference_mode`, because
    losses keep them for their backward pass.
    """

    TEMPLATES = "clip2scene"
    """Key of `scenelift.samples.vocabulary.prompt_templates` that `teacher.templates model` means."""
    text: Tensor
    """[C, D] class embeddings, unit rows; from `prepare` on."""

    def __init__(self, config: TeacherConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config, self.vocabulary = config, vocabulary

    def prepare(self, device: torch.device | str = "cpu") -> Self:
        """Freeze, move, and encode the classes: the last step of making a teacher."""
        self.requires_grad_(False)
        super().train(False)
        self.to(device)
        self.register_buffer("text", self.text_features(self.vocabulary), persistent=False)
        return self

    def train(self, mode: bool = True) -> Self:
        """A teacher stays as it is, whatever the modules around it do."""
        return self

    @abstractmethod
    def tokens(self, images: Tensor) -> Tensor:
        """What the image tower says of each patch: [B, K, h, w], for uint8 RGB [B, 3, H, W] of any size."""

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings of whole sentences: float32 [P, D], unit rows, on the device of the teacher."""

    @property
    def token_width(self) -> int:
        """K."""
        return self.text.shape[1]

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        """What `tokens` gave, in the space of the text: float32 [B, D, h, w], unit length over D."""
        return F.normalize(tokens.float(), dim=1)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Patch features in the space of the text: float32 [B, D, h, w], unit length over D, for uint8 RGB
        [B, 3, H, W]."""
        return self.project(self.tokens(images))

    @torch.no_grad()
    def text_features(self, vocabulary: Vocabulary, templates: str | None = None) -> Tensor:
        """Class embeddings: the mean over a class's words and templates, float32 [C, D], unit rows.

        templates: of `prompt_templates`; None: the teacher's own. `self.text` holds those of its vocabulary.
        """
        own = self.TEMPLATES if self.config.templates == "model" else self.config.templates
        prompts = vocabulary.prompts(templates or own)
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
