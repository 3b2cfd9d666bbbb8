"""CKD's losses against loops and against what can be worked out by hand."""

import math

import pytest
import torch

from scenelift.geometry.boxes2d import neighbours
from trainables.phrases import losses


def similarities(seed=0, images=4, regions=5, phrases=(2, 3, 1, 2)):
    """Cosines [N, I, R], a region mask, and the sentences of the phrases; sentence s is about image s."""
    rng = torch.Generator().manual_seed(seed)
    cosines = torch.rand(sum(phrases), images, regions, generator=rng) * 2 - 1
    mask = torch.rand(images, regions, generator=rng) < 0.7
    mask[:, 0] = True
    return cosines, mask, torch.repeat_interleave(torch.arange(len(phrases)), torch.tensor(phrases))


def looped_scores(cosines, mask, sentence, sentences, mean=False):
    total = torch.zeros(sentences, cosines.shape[1])
    for s in range(sentences):
        mine = [n for n in range(len(cosines)) if sentence[n] == s]
        for i in range(cosines.shape[1]):
            best = [max(cosines[n, i, r].item() for r in range(mask.shape[1]) if mask[i, r]) for n in mine]
            total[s, i] = sum(best) / (len(best) if mean and best else 1)
    return total


@pytest.mark.parametrize("mean", [False, True])
def test_image_scores_are_sums_of_the_best_real_regions(mean):
    cosines, mask, sentence = similarities()
    found = losses.image_scores(losses.best_regions(cosines, mask), sentence, 5, mean)
    torch.testing.assert_close(found, looped_scores(cosines, mask, sentence, 5, mean))
    assert (found[4] == 0).all(), "a sentence without phrases"


def test_padding_never_wins_and_has_no_gradient():
    cosines, mask, _ = similarities()
    cosines = cosines.masked_fill(~mask, 5.0).requires_grad_()
    for sharpness in (None, 10.0):
        best = losses.best_regions(cosines, mask, sharpness)
        assert (best < 2).all()
        (gradient,) = torch.autograd.grad(best.sum(), cosines)
        assert (gradient.masked_fill(mask, 0) == 0).all()


def test_the_soft_maximum_tends_to_the_maximum():
    cosines, mask, _ = similarities()
    hard = losses.best_regions(cosines, mask)
    assert (losses.best_regions(cosines, mask, 5.0) >= hard).all()
    torch.testing.assert_close(losses.best_regions(cosines, mask, 1e4), hard, atol=1e-3, rtol=0)


def everybody(sentences):
    own = torch.arange(sentences)
    return own, losses.negatives(own, torch.arange(sentences))


def test_equal_scores_cost_the_logarithm_of_the_batch():
    own, against = everybody(32)
    for value in (0.0, 3.0):
        scores = torch.full((32, 32), value)
        assert losses.contrastive(scores, own, against).item() == pytest.approx(math.log(32), abs=1e-5)
        assert losses.contrastive_sentences(scores, own, against).item() == pytest.approx(
            math.log(32), abs=1e-5
        )


@pytest.mark.parametrize(("phrases", "images"), [(1, 32), (3, 8)])
def test_the_best_that_short_sentences_can_have(phrases, images):
    """Own image +1, all others -1, temperature 1/2: log(1 + (B - 1) exp(-4 m)), 0.450 for m = 1 and B = 32."""
    own, against = everybody(images)
    best = (2 * torch.eye(images) - 1).repeat_interleave(phrases, 0)
    sentence = torch.arange(images).repeat_interleave(phrases)
    scores = 2 * losses.image_scores(best, sentence, images)
    wanted = math.log(1 + (images - 1) * math.exp(-4 * phrases))
    assert losses.contrastive(scores, own, against).item() == pytest.approx(wanted, abs=1e-6)
    if (phrases, images) == (1, 32):
        assert wanted == pytest.approx(0.450, abs=5e-4)


def looped_contrast(scores, own, ids):
    """One sentence after the other; other captions of the same photo are left out."""
    total = 0.0
    for s, image in enumerate(own.tolist()):
        others = [i for i in range(scores.shape[1]) if i == image or ids[i] != ids[image]]
        total -= scores[s, image].item() - math.log(sum(math.exp(scores[s, i].item()) for i in others))
    return total / len(own)


def test_another_caption_of_the_same_photo_is_no_negative():
    own, ids = torch.tensor([0, 1, 2, 2, 3]), torch.tensor([7, 8, 7, 9])
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = losses.contrastive(scores, own, losses.negatives(own, ids))
    assert loss.item() == pytest.approx(looped_contrast(scores.detach(), own, ids), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient[0, 2] == 0 and gradient[2, 0] == 0 and gradient[3, 0] == 0 and gradient[0, 1] != 0


def test_sentences_of_the_same_photo_are_not_held_against_each_other():
    own, ids = torch.tensor([0, 0, 1, 2]), torch.tensor([5, 6, 5])
    scores = torch.randn(4, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    loss = losses.contrastive_sentences(scores, own, losses.negatives(own, ids))
    total = 0.0
    for s in range(4):
        others = [o for o in range(4) if o == s or ids[own[o]] != ids[own[s]]]
        total -= scores[s, own[s]].item() - math.log(sum(math.exp(scores[o, own[s]].item()) for o in others))
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)


def test_permuting_images_with_their_sentences_changes_nothing():
    cosines, mask, sentence = similarities()
    own, against = everybody(4)
    scores = losses.image_scores(losses.best_regions(cosines, mask), sentence, 4)
    order = torch.tensor([2, 0, 3, 1])
    turned = losses.image_scores(losses.best_regions(cosines[:, order], mask[order]), sentence, 4)
    where = torch.argsort(order)[own]
    for loss in (losses.contrastive, losses.contrastive_sentences):
        assert loss(turned, where, losses.negatives(where, torch.arange(4))).item() == pytest.approx(
            loss(scores, own, against).item(), rel=1e-5
        )


def test_the_hinge_is_the_mean_over_pairs():
    own, ids = torch.tensor([0, 1, 2]), torch.tensor([4, 5, 4])
    scores = torch.tensor([[1.0, 0.2, 9.0], [0.9, 1.0, 0.95], [9.0, 3.0, 1.0]])
    found = losses.max_margin(scores, own, losses.negatives(own, ids), 0.3)
    hinges = [0.0, 0.2, 0.25, 2.3]  # image 2 shows what image 0 does
    assert found.item() == pytest.approx(sum(hinges) / 4)


def test_nothing_to_compare_costs_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    empty = torch.zeros(0, 3, requires_grad=True)
    against = losses.negatives(none, torch.arange(3))
    for loss in (losses.contrastive, losses.contrastive_sentences):
        assert loss(empty, none, against).item() == 0
    assert losses.max_margin(empty, none, against, 1.0).item() == 0
    one = torch.ones(1, 1, requires_grad=True)
    alone = torch.zeros(1, dtype=torch.int64)
    assert losses.contrastive(one, alone, losses.negatives(alone, alone)).item() == 0
    assert losses.max_margin(one, alone, losses.negatives(alone, alone), 1.0).item() == 0


def test_the_ramp():
    found = [losses.ramp(step, 0.001, 1.0, 500, 3.0) for step in (0, 499, 500, 1000, 1500, 10**6)]
    assert found == pytest.approx([0.001, 0.001, 1.001, 2.001, 3.0, 3.0])


def grounding(seed=0, phrases=6, regions=12, count=4):
    rng = torch.Generator().manual_seed(seed)
    own = torch.rand(phrases, regions, generator=rng) * 2 - 1
    teacher = torch.rand(phrases, regions, generator=rng)
    corner = torch.rand(regions, 2, generator=rng) * 50
    boxes = torch.cat([corner, corner + 5 + torch.rand(regions, 2, generator=rng) * 30], 1).numpy()
    near = torch.from_numpy(neighbours(boxes, count)).long().expand(phrases, -1, -1)
    return own, teacher, near


def looped_distillation(own, teacher, where, student_t=1.0, teacher_t=1.0, log=False):
    found = []
    for said, belief, regions in zip(own.tolist(), teacher.tolist(), where.tolist(), strict=True):
        if not any(belief):
            continue
        regions = [r for r in regions if r >= 0]
        values = [(math.log(max(belief[r], 6e-8)) if log else belief[r]) / teacher_t for r in regions]
        target = [math.exp(v) / sum(map(math.exp, values)) for v in values]
        total = sum(math.exp(said[r] / student_t) for r in regions)
        found.append(
            -sum(t * (said[r] / student_t - math.log(total)) for t, r in zip(target, regions, strict=True))
        )
    return sum(found) / len(found)


@pytest.mark.parametrize("settings", [(1.0, 1.0, False), (0.1, 2.0, False), (0.2, 0.7, True)])
def test_distillation_is_that_of_a_loop(settings):
    own, teacher, near = grounding()
    teacher[2] = 0
    mask = torch.ones_like(own, dtype=torch.bool)
    where = losses.near_choice(own, mask, near)
    where[1, 2:] = -1
    found = losses.distillation(own, teacher, where, *settings)
    assert found.item() == pytest.approx(looped_distillation(own, teacher, where, *settings), rel=1e-5)


def test_the_choice_is_the_best_real_region_and_stands_first():
    own, _, near = grounding()
    mask = torch.ones_like(own, dtype=torch.bool)
    assert (losses.near_choice(own, mask, near)[:, 0] == own.argmax(1)).all()
    best = own.argmax(1)
    mask[torch.arange(len(own)), best] = False
    chosen = losses.near_choice(own, mask, near)[:, 0]
    assert (chosen != best).all() and (chosen == own.masked_fill(~mask, -9).argmax(1)).all()


def test_shifting_the_teacher_changes_nothing():
    """The authors subtract the mean of the belief before the softmax, which is no change (ckd.md 5.3)."""
    own, teacher, near = grounding()
    where = losses.near_choice(own, torch.ones_like(own, dtype=torch.bool), near)
    plain = losses.distillation(own, teacher, where)
    shifted = losses.distillation(own, teacher - teacher.mean(1, keepdim=True) + 1, where)
    assert shifted.item() == pytest.approx(plain.item(), rel=1e-5)


def test_an_undecided_student_costs_the_logarithm_of_the_regions():
    _, teacher, near = grounding(count=8)
    own = torch.full_like(teacher, 0.3)
    where = near[:, 0]
    assert losses.distillation(own, teacher, where).item() == pytest.approx(math.log(8), rel=1e-5)
    assert losses.distillation(own, teacher.square(), where).item() == pytest.approx(math.log(8), rel=1e-5)


def test_phrases_that_the_detector_does_not_know_are_left_out():
    own, teacher, near = grounding()
    own.requires_grad_()
    teacher[3:] = 0
    where = near[:, 0]
    loss = losses.distillation(own, teacher, where)
    alone = losses.distillation(own[:3], teacher[:3], where[:3])
    assert loss.item() == pytest.approx(alone.item())
    (gradient,) = torch.autograd.grad(loss, own)
    assert (gradient[3:] == 0).all() and (gradient[:3] != 0).any()


def test_a_batch_without_known_phrases_is_finite():
    own, teacher, near = grounding()
    own.requires_grad_()
    for rows in (slice(None), slice(0, 0)):
        loss = losses.distillation(own[rows], teacher[rows] * 0, near[rows, 0])
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, own)
        assert (gradient == 0).all()


def test_no_gradient_reaches_the_teacher():
    own, teacher, near = grounding()
    teacher.requires_grad_()
    own.requires_grad_()
    losses.distillation(own, teacher, near[:, 0]).backward()
    assert teacher.grad is None and own.grad is not None


def test_a_belief_of_zero_is_a_small_one_in_its_logarithm():
    own, teacher, near = grounding()
    teacher[:, ::2] = 0
    loss = losses.distillation(own, teacher, near[:, 0], 0.1, 1.0, True)
    assert torch.isfinite(loss)
