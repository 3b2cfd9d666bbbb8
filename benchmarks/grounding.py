"""Seconds and memory of coarse selection and reconstruction at WS-3DVG's sizes, against a loop over candidates.

`python -m benchmarks.grounding`: 4 rooms of 256 proposals, 32 sentences, 8 candidates, 3,500 words, 288 channels, 3
layers, forward and backward in float32. The loop is the reference's way (ws3dvg.md 13.2): a sort for each sentence,
torch's decoder layers over padded sentences once a candidate, all logits stacked, log-softmax of them. Both compute
the same loss: that of all candidates, as in the first epochs, and that of the better half, as in the others.
Sentences have 20 words on average and 60 at most; and once all have 60, where leaving padding out gains nothing.
Seconds are of one thread's processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import multiprocessing
import resource
import time

import numpy as np
import torch
from torch import Tensor, nn

from trainables.ground import losses
from trainables.ground.config import NetworkConfig
from trainables.ground.reconstruct import Packing, Reconstructor

ROOMS, PROPOSALS, SENTENCES, CANDIDATES = 4, 256, 32, 8
VOCABULARY, WIDTH, HEADS, LAYERS, CLASSES, LONGEST = 3500, 288, 8, 3, 18, 60


def sizes(full: bool) -> Tensor:
    """[32] words of each sentence."""
    if full:
        return torch.full((SENTENCES,), LONGEST)
    drawn = np.random.default_rng(0).gamma(5, 4, SENTENCES).round().clip(6, LONGEST)
    drawn[0] = LONGEST
    return torch.from_numpy(drawn.astype(np.int64))


class Case:
    """Random inputs, the same in every process."""

    def __init__(self, full: bool) -> None:
        torch.manual_seed(0)
        self.lengths = sizes(full)
        longest = int(self.lengths.max())
        self.words = Packing.of(self.lengths)
        config = NetworkConfig(width=WIDTH, heads=HEADS, decoder_layers=LAYERS, decoder_dropout=0.0)
        self.reconstructor = Reconstructor(config, VOCABULARY)
        self.room = torch.arange(ROOMS).repeat_interleave(SENTENCES // ROOMS)
        self.proposals = torch.randn(ROOMS, PROPOSALS, WIDTH, requires_grad=True)
        self.class_logits = torch.randn(ROOMS, PROPOSALS, CLASSES)
        self.objects = torch.rand(ROOMS, PROPOSALS) > 0.6
        self.said, self.sentence = torch.randn(SENTENCES, CLASSES), torch.randn(SENTENCES, WIDTH)
        self.encoded = torch.randn(SENTENCES, longest, WIDTH, requires_grad=True)
        self.ids = torch.randint(VOCABULARY, (SENTENCES, longest))
        self.keywords = torch.rand(SENTENCES, longest) < 0.3
        self.hidden = torch.rand(len(self.words.place)) < 0.3

    def ours(self, count: int) -> Tensor:
        """As `trainables.ground.method` has it."""
        room = self.room
        present = torch.ones_like(self.objects[room])
        with torch.no_grad():
            similarity = torch.einsum("sd,smd->sm", self.sentence, self.proposals[room])
            weights = losses.class_weights(self.said, self.class_logits[room], present)
            weights = weights + losses.feature_weights(similarity, present)
            chosen, valid = losses.select(weights, self.objects[room], CANDIDATES)
        candidates = self.proposals[room[:, None], chosen]
        if count == CANDIDATES:
            return losses.reconstruction_loss(self.fine(candidates), valid)
        with torch.no_grad():
            best = losses.min_indices(self.fine(candidates), valid, count)
        candidates = candidates.gather(1, best[..., None].expand(-1, -1, WIDTH))
        return losses.reconstruction_loss(self.fine(candidates), valid.gather(1, best))

    def fine(self, candidates: Tensor) -> Tensor:
        """[S, K] reconstruction losses."""
        words = self.words
        inputs = self.reconstructor.inputs(self.encoded, words, self.hidden)
        decoded = self.reconstructor(inputs, candidates, words)
        each = self.reconstructor.losses(decoded, words.pack(self.ids))
        return losses.sentence_losses(each, words.pack(self.keywords), words.sentence, SENTENCES)

    def loop(self, count: int) -> Tensor:
        """The reference's way."""
        chosen = torch.stack([self.sorted(s) for s in range(SENTENCES)])
        words = self.words
        inputs = words.unpack(self.reconstructor.inputs(self.encoded, words, self.hidden))
        mask = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1])
        padding = torch.zeros(words.present.shape).masked_fill(~words.present, -torch.inf)
        logits = []
        for k in range(CANDIDATES):
            candidate, x = self.proposals[self.room, chosen[:, k]][:, None], inputs
            for layer in self.reconstructor.layers:
                x = layer(x, candidate, tgt_mask=mask, tgt_key_padding_mask=padding)
            logits.append(self.reconstructor.words(x))
        log = torch.stack(logits, 1).log_softmax(3)
        ids = self.ids[:, None, :, None].expand(-1, CANDIDATES, -1, 1)
        each = -0.9 * log.gather(3, ids).squeeze(3) - 0.1 * log.mean(3)
        rho = torch.zeros(SENTENCES, CANDIDATES)
        for share, kept in ((0.3, ~self.keywords), (0.7, self.keywords)):
            kept = (kept & words.present)[:, None]
            rho = rho + share * (each * kept).sum(2) / (kept.sum(2) + 1e-7)
        return rho.topk(count, dim=1, largest=False).values.mean()

    def sorted(self, s: int) -> Tensor:
        """[K] candidates of one sentence, by a sort of all proposals."""
        logits, room = self.class_logits[self.room[s]], int(self.room[s])
        weight = logits[:, self.said[s].argmax()].softmax(0)
        weight = weight + nn.functional.cosine_similarity(logits, self.said[s : s + 1])
        weight = weight + 0.5 * (self.proposals[room].detach() @ self.sentence[s]).softmax(0)
        return weight.masked_fill(~self.objects[room], -torch.inf).sort(descending=True).indices[:CANDIDATES]


def measure(way: str, full: bool, count: int) -> tuple[float, float, float]:
    """(best seconds of two, GB that the process's peak rose by, the loss), in this process."""
    torch.set_num_threads(1)
    case = Case(full)
    before, seconds, loss = peak_bytes(), [], torch.zeros(())
    for _ in range(2):
        began = time.process_time()
        loss = getattr(case, way)(count)
        loss.backward()
        seconds.append(time.process_time() - began)
    return min(seconds), (peak_bytes() - before) / 1e9, float(loss.detach())


def peak_bytes() -> int:
    """Most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure both ways, each in a process of its own."""
    for full in (False, True):
        lengths = sizes(full)
        print(f"sentences of {lengths.float().mean():.0f} words on average, {int(lengths.max())} at most")
        for count in (CANDIDATES, CANDIDATES // 2):
            found = {}
            for way in ("loop", "ours"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found[way] = pool.apply(measure, (way, full, count))
                seconds, memory, loss = found[way]
                print(f"  {way}, {count} learned from: {seconds:.2f} s, {memory:.2f} GB, loss {loss:.4f}")
            time_ratio, memory_ratio = (found["loop"][i] / found["ours"][i] for i in (0, 1))
            print(f"    ratio: {time_ratio:.1f} in time (bound 3), {memory_ratio:.1f} in memory")
            assert abs(found["loop"][2] - found["ours"][2]) < 1e-3, "both ways must compute the same"


if __name__ == "__main__":
    from benchmarks.grounding import main

    main()
