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
from functools import cached_property
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from scenelift.errors import TeacherError
from scenelift.geometry.sampling import sample
from scenelift.samples.vocabulary import TEMPLATES, Vocabulary
from scenelift.teachers.config import TeacherConfig
from scenelift.teachers.weights import LoadedClip, load_clip

PROMPTS_AT_ONCE = 256


def build_teacher(
    config: TeacherConfig, vocabulary: Vocabulary, device: torch.device | str = "cpu"
) -> DenseClip:
    """The teacher of a data set's classes, frozen, on the device; its prompts are encoded there.

    Raises TeacherError if the weights are not on this machine or do not fit, if the model is no plain ViT, or
    if a tiny model's tokenizer does not know a word of the vocabulary.
    """
    if config.templates not in ("model", *TEMPLATES):
        raise TeacherError(f"teacher.templates: {config.templates!r} is not one of {', '.join(TEMPLATES)}")
    loaded = load_clip(config.model, config.weights, vocabulary)
    check_towers(config.model, loaded.clip)
    resolved = dataclasses.replace(
        config,
        templates=loaded.templates if config.templates == "model" else config.templates,
        value_path=loaded.value_path if config.value_path == "model" else config.value_path,
        activation=loaded.activation if config.activation == "model" else config.activation,
    )
    return DenseClip(resolved, loaded, vocabulary, device)


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
        tokens = value_tokens(self.visual, pixels, self.positions, self.config.value_path)
        return self.visual.ln_post(tokens).transpose(1, 2).unflatten(2, self.grid_size)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Patch features in the space of the text: float32 [B, D, h, w], unit length over D.

        images: uint8 [B, 3, H, W], RGB.
        """
        return self.project(self.tokens(images))

    @torch.no_grad()
    def project(self, tokens: Tensor) -> Tensor:
        """What `tokens` gave, in the space of the text: float32 [B, D, h, w], unit length over D."""
        return F.normalize(torch.einsum("bkhw,kd->bdhw", tokens, self.visual.proj).float(), dim=1)

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

        templates: a key of TEMPLATES; None: the teacher's own. `self.text` holds those of its vocabulary.
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

    def label_pixels(
        self, images: Tensor, image_index: Tensor, rows: Tensor, cols: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Pseudo-labels of M pixels: best class int64 [M] in 0..C-1, and its cosine float32 [M].

        Arguments as in `pixel_scores`.
        """
        score, label = self.pixel_scores(images, image_index, rows, cols).max(dim=1)
        return label, score

    @cached_property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that change with the weights, the prompts, the resolution, or the reading."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.clip.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().float().contiguous().numpy().tobytes())
        reading = dataclasses.asdict(self.config) | {"weights": "", "vocabulary": self.vocabulary.version}
        digest.update(json.dumps(reading, sort_keys=True).encode())
        digest.update(json.dumps(TEMPLATES[self.config.templates]).encode())
        return digest.hexdigest()[:12]


def check_towers(model: str, clip: open_clip.CLIP) -> None:
    """TeacherError if the image tower's last block has no value path to read, or the text tower is not CLIP's."""
    visual = clip.visual
    fits = isinstance(visual, VisionTransformer) and visual.attn_pool is None
    fits &= clip.attn_mask is not None and clip.text_pool_type == "argmax"
    if not fits or not all(
        isinstance(block, ResidualAttentionBlock) for block in visual.transformer.resblocks
    ):
        raise TeacherError(f"teacher.model {model} has no plain ViT image tower; use one such as ViT-B-16")


def encode_text(clip: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Text embeddings [P, D] of token ids [P, context], without the padding behind the longest sentence.

    Equal to open_clip's `encode_text`, since no token looks ahead, at a quarter of the time: a prompt fills about
    15 of CLIP's 77 places.
    """
    end = tokens.argmax(dim=1)
    length = int(end.max()) + 1
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
    return x[torch.arange(len(x), device=x.device), end] @ clip.text_projection


def set_activation(module: nn.Module, activation: str) -> None:
    """Put one activation into every MLP of a transformer: open_clip's default differs by model name."""
    made = {"quickgelu": QuickGELU, "gelu": nn.GELU}[activation]
    blocks = [block for block in module.modules() if isinstance(block, ResidualAttentionBlock)]
    assert blocks, "no transformer blocks"
    for block in blocks:
        assert isinstance(block.mlp.gelu, QuickGELU | nn.GELU)
        block.mlp.gelu = made()


def resized_positions(visual: VisionTransformer, grid: tuple[int, int]) -> Tensor:
    """The position table [1 + h w, width] for another grid: bicubic, the class token's row kept."""
    table = visual.positional_embedding.detach()
    if grid == tuple(visual.grid_size):
        return table.clone()
    patches = table[1:].T.unflatten(1, tuple(visual.grid_size))[None]
    patches = F.interpolate(patches, grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], patches[0].flatten(1).T])


def value_tokens(visual: VisionTransformer, pixels: Tensor, positions: Tensor, value_path: str) -> Tensor:
    """Patches through all blocks but the last, then through the last one's value path: [B, h w, width].

    pixels: float [B, 3, H, W]; positions: [1 + h w, width]. Differentiable: the tiny teacher is trained so.
    """
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    leading = visual.class_embedding.expand(len(patches), 1, -1)
    x = visual.ln_pre(torch.cat([leading, patches], dim=1) + positions)
    blocks = visual.transformer.resblocks
    x = x if visual.transformer.batch_first else x.transpose(0, 1)
    for block in blocks[:-1]:
        x = block(x)
    x = x if visual.transformer.batch_first else x.transpose(0, 1)
    return last_value(blocks[-1], x[:, 1:], value_path)


def last_value(block: ResidualAttentionBlock, x: Tensor, value_path: str) -> Tensor:
    """A block as if every token attended to itself alone (MaskCLIP): [B, N, width] -> [B, N, width]."""
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    rows = slice(2 * x.shape[-1], None)
    value = block.ls_1(block.attn.out_proj(F.linear(block.ln_1(x), weight[rows], bias[rows])))
    if value_path == "value":
        return value
    x = x + value
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _grid(image_size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    if any(pixels % patch or pixels < patch for pixels, patch in zip(image_size, patch_size, strict=True)):
        raise TeacherError(
            f"teacher.image_size {image_size} must be multiples of the ViT's patch {patch_size}"
        )
    height, width = (pixels // patch for pixels, patch in zip(image_size, patch_size, strict=True))
    return height, width
