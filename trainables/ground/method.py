"""The method of WS-3DVG: coarse selection, reconstruction, distillation (ws3dvg.md 5 to 7).

Candidates are selected by class and feature similarity and ranked by how well the sentence's masked keywords can be
reconstructed from them; a matching head learns the ranking.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scenelift.train.method import Method, Progress
from trainables.ground import losses
from trainables.ground.batch import RoomBatch
from trainables.ground.config import GroundLoss
from trainables.ground.lexicon import UNKNOWN
from trainables.ground.model import Grounder
from trainables.ground.reconstruct import Packing


class Grounding(Method):
    """Teacher and student are trained together: they share sentence encoder and relation module."""

    student: Grounder

    def __init__(self, student: Grounder, loss: GroundLoss) -> None:
        super().__init__()
        self.student = student
        method = student.method
        weights = {
            "features": loss.features if method.mil != "off" else 0,
            "category": loss.category if method.category != "off" else 0,
            "reconstruction": loss.reconstruction if method.reconstruct else 0,
            "distillation": loss.distillation if method.distill else 0,
        }
        self.weights = {name: weight for name, weight in weights.items() if weight}
        # Parallel workers wait for the gradient of every parameter that is not frozen.
        words = bool({"reconstruction", "distillation"} & self.weights.keys())
        student.category.requires_grad_("category" in self.weights)
        student.reconstructor.requires_grad_("reconstruction" in self.weights)
        student.match.requires_grad_("distillation" in self.weights)
        student.relation.requires_grad_(words or "features" in self.weights)
        for part in (student.encoder.project, student.encoder.norm):
            part.requires_grad_(words)

    def forward(self, batch: RoomBatch, progress: Progress) -> dict[str, Tensor]:
        student, method, room = self.student, self.student.method, batch.room
        proposals, read = student.look(batch), Reading.of(student, batch)
        weights = coarse(student, batch, proposals, read).detach()
        chosen, valid = losses.select(weights, batch.objects[room], method.candidates)
        terms: dict[str, Tensor] = {}
        if method.mil != "off":
            loss = losses.mil_nce if method.mil == "nce" else losses.mil_margin
            with torch.autocast(proposals.device.type, enabled=False):
                terms["features"] = loss(read.sentence.float(), proposals.float(), batch.present, room)
        if method.category != "off":
            known = batch.noun if method.category == "noun" else batch.category
            terms["category"] = losses.category_loss(student.category(read.sentence).float(), known, room)
        rewards = valid.float()
        if method.reconstruct:
            share = method.hard_candidate_fraction if progress.epoch >= method.hard_candidates_from else 1.0
            count = max(1, int(share * chosen.shape[1]))
            candidates = proposals[room[:, None], chosen]
            terms["reconstruction"], rho = reconstruct(student, batch, candidates, valid, read, count)
            rewards = losses.rank_rewards(rho, valid, method.reward_power)
        if method.distill:
            present = batch.present[room]
            scores = student.match(proposals[room], present, read.words, batch.is_word)
            terms["distillation"] = losses.distillation_loss(scores.float(), present, chosen, valid, rewards)
        return terms


@dataclass(frozen=True)
class Reading:
    """The encoded sentences; in training, some of their words are dropped."""

    sentence: Tensor  # [S, d]
    words: Tensor  # [S, T, d]
    hidden: Tensor  # [S, T, d] words, with the keywords' vectors set to 0
    complete: Tensor  # [S, d] the sentences with all words and without gradient, for the coarse selection

    @classmethod
    def of(cls, student: Grounder, batch: RoomBatch) -> Reading:
        """All variants of the sentences are encoded at once; in evaluation no words are dropped."""
        complete = dropped = student.vectors[batch.ids]
        if student.training:
            dropped = student.vectors[batch.ids.masked_fill(_word_dropout(student, batch), UNKNOWN)]
        variants = [dropped, dropped.masked_fill(batch.keywords[:, :, None], 0)]
        variants += [complete] if student.training else []
        sentence, words = student.encoder(torch.cat(variants), batch.lengths.repeat(len(variants)))
        sentences, encoded = sentence.chunk(len(variants)), words.chunk(len(variants))
        last = sentences[-1] if student.training else sentences[0]
        return cls(sentences[0], encoded[0], encoded[1], last.detach())


def _word_dropout(student: Grounder, batch: RoomBatch) -> Tensor:
    """[S, T] bool: the fraction `word_dropout` of the words, drawn with replacement (4.1)."""
    count = (batch.lengths * student.method.word_dropout).long()
    most = int(count.max())
    dropped = torch.zeros_like(batch.keywords)
    if not most:
        return dropped
    places = (torch.rand(len(count), most, device=count.device) * batch.lengths[:, None]).long()
    drawn = torch.arange(most, device=count.device) < count[:, None]
    places = torch.where(drawn, places, places[:, :1])
    return dropped.scatter(1, places, True) & (count > 0)[:, None]


def coarse(student: Grounder, batch: RoomBatch, proposals: Tensor, read: Reading) -> Tensor:
    """[S, M] weight of every proposal for every sentence, from class and feature similarity (5)."""
    room, method = batch.room, student.method
    present = batch.present[room]
    weights = torch.zeros_like(present, dtype=torch.float32)
    if method.category != "off":
        weights = losses.class_weights(student.category(read.complete), batch.class_logits[room], present)
    if method.mil != "off":
        similarity = torch.einsum("sd,smd->sm", read.complete, proposals[room])
        weights = weights + losses.feature_weights(similarity, present)
    return weights


def reconstruct(
    student: Grounder, batch: RoomBatch, candidates: Tensor, valid: Tensor, read: Reading, count: int
) -> tuple[Tensor, Tensor]:
    """The reconstruction loss of the `count` best candidates of each sentence, and [S, K] losses to rank all by.

    If not all are learned from, all are first ranked without gradient and dropout, and only the best are computed
    again: the others cost a third.
    """
    hidden = masked(student, batch)
    if count == candidates.shape[1]:
        rho, _ = reconstruction_losses(student, batch, candidates, read, hidden)
        return losses.reconstruction_loss(rho, valid), rho.detach()
    with torch.no_grad():
        student.reconstructor.eval()
        rho, _ = reconstruction_losses(student, batch, candidates, read, hidden)
        student.reconstructor.train()
    best = losses.min_indices(rho, valid, count)
    taken = candidates.gather(1, best[..., None].expand(-1, -1, candidates.shape[2]))
    again, _ = reconstruction_losses(student, batch, taken, read, hidden)
    return losses.reconstruction_loss(again, valid.gather(1, best)), rho


def masked(student: Grounder, batch: RoomBatch) -> Tensor:
    """[S, T] bool words masked for the reconstructor, the same for all candidates; in training at random."""
    hidden = torch.zeros_like(batch.keywords)
    if student.training:
        hidden = torch.rand(hidden.shape, device=hidden.device) < student.method.masked
    return hidden | batch.keywords if student.method.mask_keywords else hidden


def reconstruction_losses(
    student: Grounder, batch: RoomBatch, candidates: Tensor, read: Reading, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """[S, K] reconstruction loss rho of each sentence from each candidate, and [N, K] loss of each word (6).

    candidates: [S, K, d]; hidden: [S, T] of `masked`.
    """
    words = Packing.of(batch.lengths)
    reconstructor = student.reconstructor
    inputs = reconstructor.inputs(read.hidden, words, words.pack(hidden))
    each = reconstructor.losses(reconstructor(inputs, candidates, words), words.pack(batch.ids))
    keywords = words.pack(batch.keywords)
    return losses.sentence_losses(each, keywords, words.sentence, len(batch.room)), each
