"""Protects the vectorised reconstructor: it is the plain decoder, run candidate by candidate."""

import pytest
import torch
from torch import nn

from trainables.ground.config import NetworkConfig
from trainables.ground.losses import sentence_losses, word_losses
from trainables.ground.reconstruct import Packing, Reconstructor, positions, single_key_attention

WIDTH, HEADS, VOCABULARY = 16, 4, 30
LENGTHS = torch.tensor([7, 3, 5])


def made(causal: bool) -> Reconstructor:
    torch.manual_seed(0)
    config = NetworkConfig(width=WIDTH, heads=HEADS, decoder_layers=3, causal=causal)
    return Reconstructor(config, VOCABULARY).eval()


def plain(reconstructor, inputs, words, candidates, causal):
    """[S, K, T, V] from torch's own decoder layers over padded sentences, one candidate after the other."""
    longest = words.present.shape[1]
    mask = nn.Transformer.generate_square_subsequent_mask(longest) if causal else None
    hidden = torch.zeros(words.present.shape).masked_fill(~words.present, -torch.inf)
    stacked = []
    for k in range(candidates.shape[1]):
        x = words.unpack(inputs)
        for layer in reconstructor.layers:
            x = layer(x, candidates[:, k : k + 1], tgt_mask=mask, tgt_key_padding_mask=hidden)
        stacked.append(reconstructor.words(x))
    return torch.stack(stacked, 1)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [LENGTHS, torch.tensor([4, 4])])
def test_losses_are_those_of_a_loop_over_candidates(causal, lengths):
    reconstructor = made(causal)
    words, count = Packing.of(lengths), len(lengths)
    encoded = torch.randn(count, int(lengths.max()), WIDTH)
    candidates = torch.randn(count, 5, WIDTH)
    ids = torch.randint(VOCABULARY, (count, int(lengths.max())))
    keywords = torch.rand(ids.shape) > 0.5
    hidden = torch.rand(len(words.place)) > 0.5
    inputs = reconstructor.inputs(encoded, words, hidden)
    with torch.inference_mode():
        each = reconstructor.losses(reconstructor(inputs, candidates, words), words.pack(ids))
        found = sentence_losses(each, words.pack(keywords), words.sentence, count)
        logits = plain(reconstructor, inputs, words, candidates, causal)
    for s, length in enumerate(lengths.tolist()):
        for k in range(5):
            token = word_losses(logits[s, k, :length], ids[s, :length])
            flags = keywords[s, :length]
            parts = [token[flags == chosen] for chosen in (False, True)]
            wanted = sum(
                weight * (part.mean() if len(part) else 0)
                for weight, part in zip((0.3, 0.7), parts, strict=True)
            )
            torch.testing.assert_close(found[s, k], torch.as_tensor(wanted), atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_the_loop_too():
    reconstructor, words = made(True), Packing.of(LENGTHS)
    encoded = torch.randn(3, 7, WIDTH)
    ids, hidden = torch.randint(VOCABULARY, (3, 7)), torch.zeros(15, dtype=torch.bool)
    found = []
    for way in ("packed", "plain"):
        candidates = torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(1)).requires_grad_()
        reconstructor.zero_grad()
        inputs = reconstructor.inputs(encoded, words, hidden)
        if way == "packed":
            loss = reconstructor.losses(reconstructor(inputs, candidates, words), words.pack(ids)).sum()
        else:
            logits = plain(reconstructor, inputs, words, candidates, True)
            each = word_losses(logits, ids[:, None].expand(3, 4, 7))
            loss = (each * words.present[:, None]).sum()
        loss.backward()
        found.append([candidates.grad, reconstructor.layers[0].linear1.weight.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_attention_to_a_single_key_is_a_linear_map():
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    query, key = torch.randn(6, 9, WIDTH), torch.randn(6, 1, WIDTH)
    wanted, _ = attention(query, key, key)
    found = single_key_attention(attention, key).expand_as(query)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_words_are_packed_and_unpacked():
    words, values = Packing.of(LENGTHS), torch.randn(3, 7, 2)
    packed = words.pack(values)
    assert len(packed) == 15 and torch.equal(packed[7], values[1, 0])
    assert torch.equal(words.unpack(packed), values * words.present[:, :, None])


def test_positions_are_sines_then_cosines_with_an_empty_first_row():
    table = positions(5, 8)
    assert table[0].abs().sum() == 0
    torch.testing.assert_close(table[2, 0], torch.tensor(2.0).sin())
    torch.testing.assert_close(table[2, 4], torch.tensor(2.0).cos())
    torch.testing.assert_close(table[2, 3], torch.tensor(2.0 / 10_000).sin())
