"""Protects the formulas of WS-3DVG against loops, finite differences and hand-made cases (ws3dvg.md 13.6)."""

import math

import pytest
import torch
from torch.nn import functional as F

from trainables.ground import losses

EIGHT = [0.01, 0.05224, 0.12755, 0.23592, 0.37735, 0.55184, 0.75939, 1.0]


def everything(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


def test_rewards_of_eight_are_those_of_the_specification():
    rho = torch.arange(8.0).flip(0)[None]  # the last is the best
    rewards = losses.rank_rewards(rho, everything(1, 8))
    torch.testing.assert_close(rewards[0], torch.tensor(EIGHT), atol=1e-5, rtol=0)
    assert float(rewards.sum()) == pytest.approx(3.1143, abs=1e-4)


def test_a_higher_power_leaves_more_to_the_best_and_power_0_the_same_to_all():
    rho = torch.rand(5, 8)
    shares = [
        (rewards / rewards.sum(1, keepdim=True)).amax(1)
        for rewards in (losses.rank_rewards(rho, everything(5, 8), power) for power in (0.0, 2.0, 6.0))
    ]
    torch.testing.assert_close(shares[0], torch.full((5,), 1 / 8))
    assert (shares[0] < shares[1]).all()
    assert (shares[1] < shares[2]).all()


def test_rewards_follow_their_candidates():
    rho, order = torch.rand(5, 8), torch.randperm(8)
    whole = losses.rank_rewards(rho, everything(5, 8))
    torch.testing.assert_close(losses.rank_rewards(rho[:, order], everything(5, 8)), whole[:, order])


def test_equal_losses_are_ranked_in_their_order():
    rewards = losses.rank_rewards(torch.zeros(1, 8), everything(1, 8))
    torch.testing.assert_close(rewards[0], torch.tensor(EIGHT), atol=1e-5, rtol=0)


def test_what_is_no_candidate_gets_no_reward_and_changes_no_other():
    rho = torch.tensor([[3.0, 0.0, 1.0, 2.0]])
    valid = torch.tensor([[True, False, True, True]])
    alone = losses.rank_rewards(rho[:, [0, 2, 3]], everything(1, 3))
    rewards = losses.rank_rewards(rho, valid)
    torch.testing.assert_close(rewards[:, [0, 2, 3]], alone)
    assert rewards[0, 1] == 0
    assert losses.rank_rewards(rho[:, :1], everything(1, 1)).item() == 1
    assert losses.rank_rewards(rho, ~everything(1, 4)).abs().sum() == 0


def nce_by_loop(sentences, proposals, present, room):
    total = 0.0
    for a in range(len(proposals)):
        above, below = [], []
        for s, b in enumerate(room.tolist()):
            for c in range(len(proposals)):
                for j in torch.nonzero(present[c]).flatten().tolist():
                    value = float(sentences[s] @ proposals[c, j])
                    above += [value] * ((b == a) + (c == a))
                    below += [value] * (b == a and c == a)
        total += float(torch.tensor(above).logsumexp(0) - torch.tensor(below).logsumexp(0))
    return total / len(proposals)


def test_nce_is_that_of_a_loop_over_all_pairs():
    torch.manual_seed(0)
    present = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    room = torch.tensor([0, 0, 1, 2, 2])
    sentences, proposals = torch.randn(5, 4), torch.randn(3, 3, 4)
    found = losses.mil_nce(sentences, proposals, present, room)
    assert float(found) == pytest.approx(nce_by_loop(sentences, proposals, present, room), abs=1e-5)
    order = torch.tensor([1, 0, 2, 4, 3])
    torch.testing.assert_close(losses.mil_nce(sentences[order], proposals, present, room), found)


def test_nce_of_one_room_or_of_rooms_far_apart_is_log_two():
    torch.manual_seed(1)
    alone = losses.mil_nce(torch.randn(3, 4), torch.randn(1, 6, 4), everything(1, 6), torch.zeros(3).long())
    assert float(alone) == pytest.approx(math.log(2), abs=1e-6)
    codes = 20 * torch.eye(3)
    apart = losses.mil_nce(codes, codes[:, None].repeat(1, 5, 1), everything(3, 5), torch.arange(3))
    assert float(apart) == pytest.approx(math.log(2), abs=1e-5)


def test_margin_is_that_of_means_over_blocks():
    torch.manual_seed(2)
    sentences, proposals, room = torch.randn(4, 3), torch.randn(2, 5, 3), torch.tensor([0, 0, 1, 1])
    blocks = torch.stack(
        [
            torch.stack(
                [
                    F.cosine_similarity(sentences[room == b][:, None], proposals[a], dim=2).mean()
                    for a in (0, 1)
                ]
            )
            for b in (0, 1)
        ]
    )
    own = blocks.diagonal()
    wanted = F.relu(0.2 - own + blocks.T.diagonal().new_tensor([blocks[0, 1], blocks[1, 0]])).mean()
    wanted = wanted + F.relu(0.2 - own + blocks.new_tensor([blocks[1, 0], blocks[0, 1]])).mean()
    torch.testing.assert_close(losses.mil_margin(sentences, proposals, everything(2, 5), room), wanted)


def test_candidates_of_a_hand_made_room():
    logits = torch.tensor([[[4.0, 0], [3, 0], [0, 4], [9, 0]]])
    said = torch.tensor([[2.0, -1.0]])
    present = everything(1, 4)
    objects = torch.tensor([[True, True, True, False]])
    weights = losses.class_weights(said, logits, present)
    share = torch.tensor([4.0, 3, 0, 9]).softmax(0)
    cosine = torch.tensor([2 / 5**0.5, 2 / 5**0.5, -1 / 5**0.5, 2 / 5**0.5])
    torch.testing.assert_close(weights[0], share + cosine)
    chosen, valid = losses.select(weights, objects, 2)
    assert chosen.tolist() == [[0, 1]] and valid.all()
    features = losses.feature_weights(torch.tensor([[0.0, 0, 9, 0]]), present)
    assert float(features.sum()) == pytest.approx(0.5)
    assert losses.select(features, objects, 1)[0].tolist() == [[2]]
    assert losses.select(weights + 4 * features, objects, 1)[0].tolist() == [[2]]


def test_no_object_is_no_candidate_even_where_too_few_are_left():
    weights, objects = torch.randn(3, 12), torch.rand(3, 12) > 0.7
    chosen, valid = losses.select(weights, objects, 8)
    for row, counts, real in zip(chosen, valid, objects, strict=True):
        assert real[row[counts]].all() and int(counts.sum()) == min(8, int(real.sum()))
    small, few = losses.select(weights[:, :3], everything(3, 3), 8)
    assert small.shape == (3, 3) and few.all()


def rho(each, keywords):
    sentence = torch.zeros(len(each), dtype=torch.long)
    return losses.sentence_losses(each, keywords, sentence, 1)[0]


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    each = losses.word_losses(torch.zeros(6, 2, 50), torch.randint(50, (6, 2)))
    keywords = torch.tensor([0, 1, 0, 0, 1, 0]).bool()
    torch.testing.assert_close(rho(each, keywords), torch.full((2,), math.log(50)))
    torch.testing.assert_close(rho(each, torch.zeros(6).bool()), torch.full((2,), 0.3 * math.log(50)))
    torch.testing.assert_close(rho(each, torch.ones(6).bool()), torch.full((2,), 0.7 * math.log(50)))


def test_word_losses_are_smoothed_as_written():
    logits, words = torch.randn(4, 3, 9), torch.randint(9, (4, 3))
    log = logits.log_softmax(2)
    wanted = -0.9 * log.gather(2, words[..., None]).squeeze(2) - 0.1 * log.mean(2)
    torch.testing.assert_close(losses.word_losses(logits, words), wanted)


def test_only_the_better_candidates_are_learned_from():
    each = torch.tensor([[1.0, 5, 2, 9], [4, 3, 8, 7]], requires_grad=True)
    valid = torch.tensor([[True, True, True, True], [False, True, True, True]])
    best = losses.min_indices(each, valid, 2)
    assert best.tolist() == [[0, 2], [1, 3]]
    loss = losses.reconstruction_loss(each.gather(1, best), valid.gather(1, best))
    loss.backward()
    assert loss.item() == pytest.approx((1 + 2 + 3 + 7) / 4)
    assert each.grad.ne(0).tolist() == [[True, False, True, False], [False, True, False, True]]
    assert losses.reconstruction_loss(each, ~everything(2, 4)) == 0


def test_distillation_has_the_gradient_of_the_specification():
    torch.manual_seed(3)
    scores = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    chosen = torch.stack([torch.randperm(10)[:4] for _ in range(3)])
    rewards = torch.rand(3, 4, dtype=torch.float64)

    def loss(z):
        return losses.distillation_loss(z, everything(3, 10), chosen, everything(3, 4), rewards)

    assert torch.autograd.gradcheck(loss, scores)
    (found,) = torch.autograd.grad(loss(scores), scores)
    wanted = scores.softmax(1) * rewards.sum(1, keepdim=True)
    wanted = wanted.scatter_add(1, chosen, -rewards) / 12
    torch.testing.assert_close(found, wanted)


def test_padding_is_outside_of_the_softmax_of_the_student():
    scores, chosen = torch.randn(2, 6), torch.tensor([[0, 1], [1, 2]])
    present = torch.arange(6) < torch.tensor([4, 4])[:, None]
    part = losses.distillation_loss(
        scores[:, :4], everything(2, 4), chosen, everything(2, 2), torch.rand(2, 2)
    )
    torch.manual_seed(0)
    rewards = torch.rand(2, 2)
    whole = losses.distillation_loss(scores, present, chosen, everything(2, 2), rewards)
    torch.manual_seed(0)
    rewards = torch.rand(2, 2)
    whole = losses.distillation_loss(scores, present, chosen, everything(2, 2), rewards)
    part = losses.distillation_loss(scores[:, :4], everything(2, 4), chosen, everything(2, 2), rewards)
    torch.testing.assert_close(whole, part)


def test_rooms_weigh_alike_in_the_class_loss_and_unnamed_sentences_nothing():
    logits, room = torch.randn(4, 3), torch.tensor([0, 0, 0, 1])
    category = torch.tensor([0, 2, -1, 1])
    each = F.cross_entropy(logits, category.clamp(min=0), reduction="none")
    wanted = ((each[0] + each[1]) / 2 + each[3]) / 2
    torch.testing.assert_close(losses.category_loss(logits, category, room), wanted)
    assert losses.category_loss(logits, torch.full((4,), -1), room) == 0
