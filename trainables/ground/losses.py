"""WS-3DVG as functions: coarse selection, reconstruction losses, rank rewards, and the losses of a step.

Shapes: B rooms of M proposals (padded), S sentences of all rooms, K candidates per sentence, C classes, D
channels, N words of all sentences. `room` is int64 [S], the room of each sentence. Source: ws3dvg.md 5 to 7.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from scenelift.geometry.segments import segment_mean, segment_sum

SMOOTHING = 0.1
"""Label smoothing of reconstructed words."""
KEYWORD_SHARE = 0.7
"""Weight of the keywords in a sentence's reconstruction loss."""
FEATURE_SHARE = 0.5
"""Weight of feature similarity, relative to class similarity."""
MARGIN = 0.2


def class_weights(sentence_logits: Tensor, class_logits: Tensor, present: Tensor) -> Tensor:
    """[S, M] how well each proposal's class fits the sentence's (ws3dvg.md 5, the first two terms).

    The softmax over proposals of their logits of the sentence's most likely class, plus the cosine of both logit
    vectors. sentence_logits: [S, C]; class_logits: [S, M, C], of the sentence's room; present: [S, M] bool, False
    for padding.
    """
    meant = sentence_logits.argmax(1)
    logits = class_logits.gather(2, meant[:, None, None].expand(-1, class_logits.shape[1], 1)).squeeze(2)
    share = logits.masked_fill(~present, -torch.inf).softmax(1)
    return share + F.cosine_similarity(class_logits, sentence_logits[:, None], dim=2)


def feature_weights(similarity: Tensor, present: Tensor) -> Tensor:
    """[S, M] half the softmax of the dot products of sentence and proposals (ws3dvg.md 5, the last term)."""
    return FEATURE_SHARE * similarity.masked_fill(~present, -torch.inf).softmax(1)


def select(weights: Tensor, objects: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The candidates of each sentence: int64 [S, K] proposals by descending weight, and bool [S, K] whether valid.

    Only proposals that are considered objects ([S, M] bool) can be candidates; if a room has fewer than `count`,
    the rest are invalid and excluded from all losses.
    """
    best = weights.masked_fill(~objects, -torch.inf).topk(min(count, weights.shape[1]), dim=1)
    return best.indices, best.values > -torch.inf


def word_losses(logits: Tensor, words: Tensor) -> Tensor:
    """[*] smoothed cross-entropy of [*, V] logits and [*] words: 0.9 of the word's -log p, 0.1 of the mean."""
    flat = logits.flatten(0, -2), words.flatten()
    return F.cross_entropy(*flat, label_smoothing=SMOOTHING, reduction="none").view(words.shape)


def sentence_losses(losses: Tensor, keywords: Tensor, sentence: Tensor, sentences: int) -> Tensor:
    """[S, K] rho: 0.3 of the mean loss of plain words and 0.7 of the mean loss of keywords (ws3dvg.md 6).

    losses: [N, K]; keywords: [N] bool; sentence: [N] int64. The mean of no words is 0.
    """
    mean = segment_mean(losses, 2 * sentence + keywords, 2 * sentences).view(sentences, 2, -1)
    return (1 - KEYWORD_SHARE) * mean[:, 0] + KEYWORD_SHARE * mean[:, 1]


def rank_rewards(losses: Tensor, valid: Tensor, power: float = 2.0) -> Tensor:
    """[S, K] reward of each candidate by the rank of its reconstruction loss (ws3dvg.md 7.5); 0 unless `valid`.

    (0.1 + 0.9 r / (n - 1))^power for rank r = 0 (highest loss) to n - 1 among n valid candidates; a single one
    gets 1. Among equal losses the first has the lower rank. No gradient.
    """
    order = losses.detach().masked_fill(~valid, torch.inf).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1) - (~valid).sum(1, keepdim=True)
    last = valid.sum(1, keepdim=True) - 1
    share = torch.where(last > 0, rank / last.clamp(min=1), 1.0)
    return torch.where(valid, (0.1 + 0.9 * share) ** power, 0.0)


def min_indices(losses: Tensor, valid: Tensor, count: int) -> Tensor:
    """[S, count] the valid candidates with the lowest reconstruction losses, then others (ws3dvg.md 7.4)."""
    return losses.detach().masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)[:, :count]


def reconstruction_loss(losses: Tensor, valid: Tensor) -> Tensor:
    """Mean reconstruction loss of all valid candidates; losses, valid: [S, K]."""
    return torch.where(valid, losses, 0.0).sum() / valid.sum().clamp(min=1)


def distillation_loss(
    scores: Tensor, present: Tensor, candidates: Tensor, valid: Tensor, rewards: Tensor
) -> Tensor:
    """The student's negative log-likelihood of the candidates, weighted by their rewards (ws3dvg.md 7.5).

    scores: [S, M]; present: [S, M] bool; candidates, valid, rewards: [S, K]. Divided by the number of candidates.
    """
    log = scores.masked_fill(~present, -torch.inf).log_softmax(1)
    taken = torch.where(valid, log.gather(1, candidates), 0.0)
    return -(rewards * taken).sum() / valid.sum().clamp(min=1)


def mil_nce(sentences: Tensor, proposals: Tensor, present: Tensor, room: Tensor) -> Tensor:
    """Sentences and proposals of one room against those of other rooms (ws3dvg.md 7.1).

    sentences: [S, D]; proposals: [B, M, D]; present: [B, M] bool. Mean over rooms of the log-sum-exp over all pairs
    of the room's proposals with any sentence and of its sentences with any proposal, minus that over the room's
    own pairs. Own pairs count twice in the former, so ln 2 is the minimum, and the value for a single room.
    """
    rooms = len(proposals)
    products = torch.einsum("sd,bmd->sbm", sentences, proposals)
    each = products.masked_fill(~present, -torch.inf).logsumexp(2)
    pairs = _segment_logsumexp(each, room, rooms)
    above = torch.cat([pairs, pairs.T], 1).logsumexp(1)
    return (above - pairs.diagonal()).mean()


def _segment_logsumexp(values: Tensor, segment: Tensor, count: int) -> Tensor:
    """[S, B] -> [count, B] logsumexp over the rows of each segment."""
    index = segment[:, None].expand_as(values)
    highest = values.new_full((count, values.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, values.detach(), "amax")
    return highest + segment_sum((values - highest[segment]).exp(), segment, count).log()


def mil_margin(sentences: Tensor, proposals: Tensor, present: Tensor, room: Tensor) -> Tensor:
    """Mean cosines within a room against those across rooms, both ways, with a margin of 0.2 (ws3dvg.md 7.2)."""
    rooms = len(proposals)
    if rooms == 1:
        # Not a constant: DDP needs a gradient for every parameter.
        return (sentences.sum() + proposals.sum()) * 0
    cosines = torch.einsum("sd,bmd->sbm", F.normalize(sentences, dim=1), F.normalize(proposals, dim=2))
    shares = present / present.sum(1, keepdim=True).clamp(min=1)
    mean = segment_mean((cosines * shares).sum(2), room, rooms)
    own = mean.diagonal()
    others = [(mean.sum(axis) - own) / (rooms - 1) for axis in (0, 1)]
    return torch.stack([F.relu(MARGIN - own + other).mean() for other in others]).sum()


def category_loss(logits: Tensor, category: Tensor, room: Tensor) -> Tensor:
    """Mean over rooms of the cross-entropy of their sentences' classes (ws3dvg.md 7.3).

    logits: [S, C]; category: int64 [S], negative if unknown; if all are unknown the loss is 0.
    """
    known = torch.nonzero(category >= 0).squeeze(1)
    if not len(known):
        return logits.sum() * 0
    losses = F.cross_entropy(logits[known], category[known], reduction="none")
    named, segment = torch.unique(room[known], return_inverse=True)
    return segment_mean(losses, segment, len(named)).mean()
