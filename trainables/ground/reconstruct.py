"""The fine scorer of WS-3DVG: reconstructs a sentence's words from each candidate, all candidates at once.

The reference runs a transformer decoder once per candidate over padded sentences, attending to one object each
time (ws3dvg.md 4.4, 13.2). The same numbers are computed more cheaply:

- attention to a single key is 1 for any query: the candidate enters as W_o W_v o, a linear map;
- before it enters, in the first layer, nothing depends on the candidate: that self-attention is computed once;
- padding is left out of everything but the attention itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.ground.config import NetworkConfig
from trainables.ground.losses import word_losses


@dataclass(frozen=True)
class Packing:
    """Packed index of the N words in [S, T] padded sentences, ordered by sentence, then position."""

    sentence: Tensor  # [N] int64
    place: Tensor  # [N] int64 position in the sentence
    present: Tensor  # [S, T] bool

    @classmethod
    def of(cls, lengths: Tensor) -> Packing:
        """From the number of words of each sentence, [S]."""
        places = torch.arange(int(lengths.max()), device=lengths.device)
        present = places < lengths[:, None]
        sentence, place = present.nonzero(as_tuple=True)
        return cls(sentence, place, present)

    def unpack(self, values: Tensor) -> Tensor:
        """[N, ...] -> [S, T, ...], 0 at padding."""
        sentences, longest = self.present.shape
        if len(values) == sentences * longest:
            return values.unflatten(0, (sentences, longest))
        row = self.sentence * longest + self.place
        padded = values.new_zeros((sentences * longest, *values.shape[1:])).index_copy(0, row, values)
        return padded.unflatten(0, (sentences, longest))

    def pack(self, values: Tensor) -> Tensor:
        """[S, T, ...] -> [N, ...]."""
        if len(self.sentence) == self.present.numel():
            return values.flatten(0, 1)
        return values[self.sentence, self.place]


class Reconstructor(nn.Module):
    """Transformer decoder from encoded, masked words and one candidate to a vocabulary."""

    def __init__(self, config: NetworkConfig, vocabulary: int) -> None:
        super().__init__()
        self.causal, width, dropout = config.causal, config.width, config.decoder_dropout
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, config.heads, 2 * width, dropout, batch_first=True)
            for _ in range(config.decoder_layers)
        )
        self.mask = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, width))[0])
        self.words = nn.Linear(width, vocabulary)

    def inputs(self, encoded: Tensor, packing: Packing, hidden: Tensor) -> Tensor:
        """[N, d] input of the first layer: encoded words ([S, T, d]), or the mask where `hidden` ([N] bool)."""
        x = torch.where(hidden[:, None], self.mask, packing.pack(encoded))
        return x + positions(packing.present.shape[1], x.shape[1]).to(x)[packing.place]

    def forward(self, inputs: Tensor, candidates: Tensor, packing: Packing) -> Tensor:
        """[N, K, d] decoded words, from [N, d] inputs and [S, K, d] candidates."""
        x = inputs[:, None]
        for layer in self.layers:
            assert isinstance(layer, nn.TransformerDecoderLayer)
            x = layer.norm1(x + layer.dropout1(self._attend(layer.self_attn, x, packing)))
            from_candidates = single_key_attention(layer.multihead_attn, candidates)[packing.sentence]
            x = layer.norm2(x + layer.dropout2(from_candidates))
            x = layer.norm3(x + layer.dropout3(layer.linear2(F.relu(layer.linear1(x)))))
        return x

    def losses(self, decoded: Tensor, words: Tensor) -> Tensor:
        """[N, K] smoothed cross-entropy of the decoded words against the true ones, int64 [N]."""
        return word_losses(self.words(decoded).float(), words[:, None].expand(decoded.shape[:2]))

    def _attend(self, attention: nn.MultiheadAttention, x: Tensor, packing: Packing) -> Tensor:
        """Self-attention of [N, K, d] words among those of their sentence and candidate."""
        heads = attention.num_heads
        projected = packing.unpack(F.linear(x, attention.in_proj_weight, attention.in_proj_bias))
        # [S, T, K, 3 d] -> 3 x [S, K, h, T, d / h]
        query, key, value = projected.unflatten(3, (3, heads, -1)).permute(3, 0, 2, 4, 1, 5)
        visible = None if self.causal else packing.present[:, None, None, None, :]
        attended = F.scaled_dot_product_attention(query, key, value, visible, is_causal=self.causal)
        return attention.out_proj(packing.pack(attended.permute(0, 3, 1, 2, 4).flatten(3)))


def single_key_attention(attention: nn.MultiheadAttention, key: Tensor) -> Tensor:
    """[*, d] attention to a single key [*, d], the same for any query: W_o (W_v key + b_v) + b_o."""
    width = key.shape[-1]
    weight, bias = attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    return attention.out_proj(F.linear(key, weight, bias))


def positions(count: int, width: int) -> Tensor:
    """[count, width] sines, then cosines, of waves from 1 to 10,000; the first row is 0 (ws3dvg.md 4.4)."""
    half = width // 2
    frequency = torch.exp(torch.arange(half) * (-math.log(10_000) / max(1, half - 1)))
    angle = torch.arange(count)[:, None] * frequency
    table = torch.cat([angle.sin(), angle.cos()], 1)
    table[0] = 0
    return table
