"""Every use of private parts of open_clip: blocks of its models, their parts, their weights.

open_clip computes a whole image's embedding; a teacher needs each patch's, by the value path of the last block. To
ask for upstream: a hook for the last block's attention. An upgrade: run `pytest -m internals`, mend what fails
here, then change `TESTED_OPEN_CLIP`.
"""

from __future__ import annotations

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from scenelift.errors import TeacherError
from scenelift.io.console import warn_if_untested

TESTED_OPEN_CLIP = "3.3.0"


def warn_of_another_open_clip() -> None:
    """Warn once where open_clip is not the version that this module was tested with."""
    warn_if_untested("open_clip", open_clip.__version__, TESTED_OPEN_CLIP)


def check_towers(model: str, clip: open_clip.CLIP) -> None:
    """TeacherError if the image tower's last block has no value path to read, or the text tower is not CLIP's."""
    visual = clip.visual
    fits = isinstance(visual, VisionTransformer) and visual.attn_pool is None
    fits &= clip.attn_mask is not None and clip.text_pool_type == "argmax"
    fits = fits and all(isinstance(each, ResidualAttentionBlock) for each in visual.transformer.resblocks)
    if not fits:
        raise TeacherError(f"teacher.model {model} has no plain ViT image tower; use one such as ViT-B-16")


def encode_text(clip: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Text embeddings [P, D] of token ids [P, context]. Equal to open_clip's `encode_text`, since no token
    looks ahead, but without padding, in a quarter of the time: a prompt fills about 15 of CLIP's 77 places."""
    end = tokens.argmax(dim=1)
    length = int(end.max()) + 1
    x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
    return x[torch.arange(len(x), device=x.device), end] @ clip.text_projection


def set_activation(module: nn.Module, activation: str) -> None:
    """Put one activation into every MLP of a transformer: open_clip's default differs by model name."""
    layer = {"quickgelu": QuickGELU, "gelu": nn.GELU}[activation]
    blocks = [block for block in module.modules() if isinstance(block, ResidualAttentionBlock)]
    assert blocks, "no transformer blocks"
    for block in blocks:
        assert isinstance(block.mlp.gelu, QuickGELU | nn.GELU)
        block.mlp.gelu = layer()


def resized_positions(visual: VisionTransformer, grid: tuple[int, int]) -> Tensor:
    """The position table [1 + h w, width] for another grid: bicubic, the class token's row kept."""
    table = visual.positional_embedding.detach()
    if grid == tuple(visual.grid_size):
        return table.clone()
    patches = table[1:].T.unflatten(1, tuple(visual.grid_size))[None]
    patches = F.interpolate(patches, grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], patches[0].flatten(1).T])


def value_tokens(visual: VisionTransformer, pixels: Tensor, positions: Tensor, value_path: str) -> Tensor:
    """Patches through all blocks but the last, then through the last one's value path: [B, h w, width]. pixels:
    float [B, 3, H, W]; positions: [1 + h w, width]. Differentiable: the tiny teacher is trained so."""
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
