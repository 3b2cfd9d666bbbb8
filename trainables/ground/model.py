"""The networks of WS-3DVG: sentence encoder, relation module, matching head, and the reconstructor as teacher.

Shapes: B rooms of M proposals (padded), S sentences of T words (padded), K candidates, C classes, d channels.
Source: ws3dvg.md 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from scenelift.config import build as configuration
from scenelift.nn.saved import SavedStudent
from trainables.ground.batch import RoomBatch
from trainables.ground.config import MethodConfig, NetworkConfig
from trainables.ground.lexicon import Lexicon
from trainables.ground.reconstruct import Reconstructor

FEATURE_DROPOUT = 0.1


class SentenceEncoder(nn.Module):
    """A recurrent network over word vectors (ws3dvg.md 4.1)."""

    def __init__(self, channels: int, config: NetworkConfig) -> None:
        super().__init__()
        width, self.pooling = config.width, config.sentence
        self.gru = nn.GRU(channels, width, batch_first=True)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[S, T, E] word vectors and [S] lengths -> [S, d] sentences and [S, T, d] words."""
        packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, last = self.gru(packed)
        words, _ = pad_packed_sequence(outputs, batch_first=True)
        sentence = words.sum(1) / lengths[:, None] if self.pooling == "mean" else last[0]
        words = F.dropout(F.relu(self.project(words)), FEATURE_DROPOUT, self.training)
        return sentence, self.norm(words)


class Attention(nn.Module):
    """Multi-head attention, followed by dropout, residual and norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, seen: Tensor, bias: Tensor) -> Tensor:
        """x: [*, Q, d]; seen: [*, K, d]; bias: added to the attention scores, broadcast to [*, h, Q, K]."""
        query, key, value = (
            linear(y).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
            for linear, y in ((self.query, x), (self.key, seen), (self.value, seen))
        )
        attended = F.scaled_dot_product_attention(query, key, value, bias)
        attended = self.out(attended.transpose(-3, -2).flatten(-2))
        return self.norm(x + F.dropout(attended, FEATURE_DROPOUT, self.training))


class RelationModule(nn.Module):
    """Attention among proposals (ws3dvg.md 4.2)."""

    def __init__(self, features: int, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.enter = nn.Linear(features, width) if features != width else nn.Identity()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.batch_norm = nn.BatchNorm1d(width, momentum=config.norm_momentum)
        self.activation = nn.PReLU(width)
        self.places = nn.ModuleList(nn.Linear(27, width) for _ in range(config.relation_layers))
        self.attentions = nn.ModuleList(Attention(width, config.heads) for _ in range(config.relation_layers))
        self.norm = nn.LayerNorm(width)
        heads = config.heads * config.relation_layers
        self.pairs = PairBias(heads) if config.relations == "pairwise" and heads else None

    def forward(self, features: Tensor, boxes: Tensor, present: Tensor) -> Tensor:
        """[B, M, D] features, [B, M, 6] boxes, [B, M] bool -> [B, M, d]."""
        entered = self.enter(features)
        x = self.second(_activated(self.batch_norm, self.activation, self.first(entered), present))
        place = box_code(boxes)
        biases = self._biases(boxes, present)
        for linear, attention, bias in zip(self.places, self.attentions, biases, strict=True):
            x = attention(x + linear(place), x + linear(place), bias)
        return self.norm(F.dropout(x, FEATURE_DROPOUT, self.training) + entered)

    def _biases(self, boxes: Tensor, present: Tensor) -> list[Tensor]:
        """[B, 1 or h, 1 or M, M] per layer: minus infinity for padding."""
        hidden = _hide(present)[:, None, None]
        if self.pairs is None:
            return [hidden] * len(self.attentions)
        bias = self.pairs(boxes)
        return [hidden + part for part in bias.chunk(len(self.attentions), 1)]


class PairBias(nn.Module):
    """Attention bias between two boxes, from their relative position.

    It decreases with the distance across the floor, initially by 0.5 (first head) to 4 (last head) per metre, so
    that some heads attend to neighbours from the start. A box hardly attends to itself: the residual does that.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.logspace(-1, 2, heads, base=2))
        self.own = nn.Parameter(torch.full((heads,), -4.0))
        self.learned = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, heads))

    def forward(self, boxes: Tensor) -> Tensor:
        """[B, M, 6] -> [B, heads, M, M]."""
        code = pair_code(boxes)
        itself = torch.eye(boxes.shape[1], device=boxes.device)[..., None]
        bias = self.learned(code) - self.slopes * code[..., 6:] + self.own * itself
        return bias.permute(0, 3, 1, 2)


class MatchHead(nn.Module):
    """The student's own part: proposals attend to the words and are scored (ws3dvg.md 4.3)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = Attention(width, config.heads)
        self.linears = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width, momentum=config.norm_momentum) for _ in range(2))
        self.activations = nn.ModuleList(nn.PReLU() for _ in range(2))
        self.score = nn.Linear(width, 1)

    def forward(self, proposals: Tensor, present: Tensor, words: Tensor, is_word: Tensor) -> Tensor:
        """[S, M, d] proposals, [S, M] bool, [S, T, d] words, [S, T] bool -> [S, M] scores."""
        x = self.attention(proposals, words, _hide(is_word)[:, None, None])
        for linear, norm, activation in zip(self.linears, self.norms, self.activations, strict=True):
            x = _activated(norm, activation, linear(x), present)
        return self.score(x).squeeze(2)


class Grounder(SavedStudent):
    """All trained networks. `match` is the student, used at inference; `reconstructor` is its teacher."""

    FILE, NAME = "grounder", "a grounder"

    vectors: Tensor

    def __init__(
        self,
        network: NetworkConfig,
        method: MethodConfig,
        lexicon: Lexicon,
        features: int,
        classes: tuple[str, ...],
    ) -> None:
        """features: D, channels of a proposal's feature; classes: the detector's class names."""
        super().__init__()
        self.network, self.method = network, method
        self.words, self.features, self.classes = lexicon.words, features, classes
        width = network.width
        self.register_buffer("vectors", lexicon.vectors.clone())
        self.encoder = SentenceEncoder(self.vectors.shape[1], network)
        self.category = nn.Linear(width, len(classes))
        self.relation = RelationModule(features, network)
        self.match = MatchHead(network)
        self.reconstructor = Reconstructor(network, len(self.vectors))
        if network.attention_start == "xavier":
            self.apply(_start_by_xavier)

    def look(self, batch: RoomBatch) -> Tensor:
        """[B, M, d] proposals after the relation module."""
        return self.relation(batch.features, batch.boxes, batch.present)

    def scores(self, batch: RoomBatch) -> Tensor:
        """[S, M] the student's score of every proposal for every sentence."""
        _, words = self.encoder(self.vectors[batch.ids], batch.lengths)
        return self.match(self.look(batch)[batch.room], batch.present[batch.room], words, batch.is_word)

    def description(self) -> dict[str, Any]:
        return {
            "network": configuration.to_dict(self.network),
            "method": configuration.to_dict(self.method),
            "words": list(self.words),
            "features": self.features,
            "classes": list(self.classes),
        }

    @classmethod
    def from_description(cls, description: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        return cls(
            configuration.from_dict(NetworkConfig, description["network"]),
            configuration.from_dict(MethodConfig, description["method"]),
            Lexicon(tuple(description["words"]), weights["vectors"]),
            description["features"],
            tuple(description["classes"]),
        )


def _start_by_xavier(module: nn.Module) -> None:
    """Glorot's uniform weights and no bias, if it is an attention; torch's own has them but for its last map."""
    linears: list[nn.Linear] = []
    if isinstance(module, Attention):
        linears = [module.query, module.key, module.value, module.out]
    elif isinstance(module, nn.MultiheadAttention):
        linears = [module.out_proj]
    for linear in linears:
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)


def box_code(boxes: Tensor) -> Tensor:
    """[*, 6] -> [*, 27] centre, and the eight corners relative to it, metres."""
    signs = boxes.new_tensor([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)])
    corners = boxes[..., None, 3:] / 2 * signs
    return torch.cat([boxes[..., :3], corners.flatten(-2)], -1)


def pair_code(boxes: Tensor) -> Tensor:
    """[B, M, 6] -> [B, M, M, 7] offset to each other box, gap along each axis, distance on the floor; metres."""
    offset = boxes[:, None, :, :3] - boxes[:, :, None, :3]
    gap = offset.abs() - (boxes[:, None, :, 3:] + boxes[:, :, None, 3:]) / 2
    across = gap[..., :2].clamp(min=0).norm(dim=-1, keepdim=True)
    return torch.cat([offset, gap, across], -1)


def _hide(present: Tensor) -> Tensor:
    """0 where present, minus infinity elsewhere; all 0 for an (unused) empty row, whose softmax would be NaN."""
    hidden = ~present & present.any(-1, keepdim=True)
    return torch.zeros_like(present, dtype=torch.float32).masked_fill(hidden, -torch.inf)


def _activated(norm: nn.Module, activation: nn.Module, x: Tensor, present: Tensor) -> Tensor:
    """Batch norm and activation of [B, M, d] over what is present: padding does not enter the statistics."""
    rows, flat = present.flatten().nonzero().squeeze(1), x.flatten(0, 1)
    values = flat[rows]
    # A single row has no statistics, so the running ones are used; not by synchronized norms, which all must call.
    if isinstance(norm, nn.BatchNorm1d) and norm.training and len(values) == 1:
        mean, var = norm.running_mean, norm.running_var
        values = F.batch_norm(values, mean, var, norm.weight, norm.bias, eps=norm.eps)
    else:
        values = norm(values)
    return torch.zeros_like(flat).index_copy(0, rows, activation(values)).view_as(x)
