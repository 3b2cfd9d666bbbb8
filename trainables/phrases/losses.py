"""The losses of CKD: sentences against images, and regions near the student's choice against a detector's belief.

Shapes: I images of R regions each (some are padding), S sentences, N phrases of all sentences. Every loss is a
float32 scalar. Source: ckd.md 4 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def best_regions(cosines: Tensor, region_mask: Tensor, sharpness: float | None = None) -> Tensor:
    """[N, I] score of each phrase on each image: that of its best region.

    cosines: [N, I, R]; region_mask: [I, R], False = padding, which never wins. With `sharpness` g it is the soft
    maximum log(sum exp(g s)) / g, InfoGround's alternative.
    """
    masked = cosines.masked_fill(~region_mask, -torch.inf)
    return masked.amax(2) if sharpness is None else masked.mul(sharpness).logsumexp(2) / sharpness


def image_scores(best: Tensor, phrase_sentence: Tensor, sentences: int, mean: bool = False) -> Tensor:
    """[S, I] score of each sentence on each image: the sum, or the mean, over the sentence's phrases.

    best: [N, I]; phrase_sentence: [N] int64. A sentence without phrases scores 0.
    """
    total = best.new_zeros(sentences, best.shape[1]).index_add(0, phrase_sentence, best)
    if not mean:
        return total
    return total / torch.bincount(phrase_sentence, minlength=sentences).clamp(min=1)[:, None]


def negatives(sentence_image: Tensor, image_id: Tensor) -> Tensor:
    """[S, I] bool: images of another photo than the sentence's own; images of one photo share an id."""
    return image_id[sentence_image][:, None] != image_id[None, :]


def contrastive(scores: Tensor, sentence_image: Tensor, against: Tensor) -> Tensor:
    """Mean cross-entropy of each sentence's own image against those that `against` [S, I] marks (ckd.md 4).

    scores: [S, I], already divided by the temperature. Without sentences 0.
    """
    if not len(scores):
        return scores.sum() * 0  # not a constant: DDP needs a gradient for every parameter
    own = F.one_hot(sentence_image, scores.shape[1]).bool()
    return F.cross_entropy(scores.masked_fill(~(against | own), -torch.inf), sentence_image)


def contrastive_sentences(scores: Tensor, sentence_image: Tensor, against: Tensor) -> Tensor:
    """The converse: each sentence against the sentences of other images, on its own image."""
    if not len(scores):
        return scores.sum() * 0
    columns = scores[:, sentence_image].T
    others = against[:, sentence_image].T | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    own = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(columns.masked_fill(~others, -torch.inf), own)


def max_margin(scores: Tensor, sentence_image: Tensor, against: Tensor, margin: float) -> Tensor:
    """Mean of max(0, margin - own + other) over sentences and their negative images; 0 without any."""
    own = scores.gather(1, sentence_image[:, None])
    hinge = (margin - own + scores).clamp(min=0)
    return (hinge * against).sum() / against.sum().clamp(min=1)


def near_choice(own: Tensor, region_mask: Tensor, neighbours: Tensor) -> Tensor:
    """[N, K] int64 the neighbours of each phrase's best region, itself first; -1 if there are fewer than K.

    own: [N, R] cosines with the phrase's own image; region_mask: [N, R]; neighbours: [N, R, K].
    """
    chosen = own.masked_fill(~region_mask, -torch.inf).argmax(1)
    return neighbours[torch.arange(len(own), device=own.device), chosen]


def distillation(
    own: Tensor,
    teacher: Tensor,
    where: Tensor,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    log_teacher: bool = False,
) -> Tensor:
    """Mean over mapped phrases of the cross-entropy of the student's distribution over regions with the teacher's.

    own: [N, R] cosines; teacher: [N, R] the detector's belief in the phrase's classes, all 0 for a phrase that it
    does not know, which is left out; where: [N, K] regions, -1 = none. Both distributions are a softmax over the
    K: of cosine / student_temperature, and of belief / teacher_temperature or, with `log_teacher`, of its
    logarithm. No gradient goes into the teacher or the choice of regions; without mapped phrases 0.
    """
    teacher = teacher.detach()
    mapped = torch.nonzero((teacher > 0).any(1)).squeeze(1)
    if not len(mapped):
        return own.sum() * 0
    where, empty = where[mapped].clamp(min=0), where[mapped] < 0
    belief = teacher[mapped].gather(1, where)
    belief = (belief.clamp(min=LEAST).log() if log_teacher else belief) / teacher_temperature
    target = belief.masked_fill(empty, -torch.inf).softmax(1)
    logits = own[mapped].gather(1, where) / student_temperature
    shares = logits.masked_fill(empty, -torch.inf).log_softmax(1).masked_fill(empty, 0)
    return -(target * shares).sum(1).mean()


LEAST = 6e-8
"""The smallest positive float16, in which posteriors are stored: the logarithm of 0 is that of this."""


def ramp(step: int, start: float, rise: float, every: int, max_weight: float) -> float:
    """Weight of distillation: `start`, plus `rise` after each `every` steps, at most `max_weight` (ckd.md 5.4)."""
    return min(start + rise * (step // every), max_weight)
