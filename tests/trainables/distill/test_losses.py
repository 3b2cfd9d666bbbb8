"""CLIP2Scene's losses against loops over points, classes and cells (clip2scene.md 9, points 8 to 10)."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from trainables.distill import losses


def unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape), dim=1)


def test_semantic_consistency_is_cross_entropy_over_classes():
    """Point 9: equals torch's cross-entropy on p t^T."""
    torch.manual_seed(0)
    features, text, labels = torch.randn(50, 8), torch.randn(5, 8), torch.randint(0, 5, (50,))
    for temperature in (1.0, 0.5):
        want = F.cross_entropy(features @ text.T / temperature, labels)
        assert torch.allclose(losses.semantic_consistency(features @ text.T, labels, temperature, 0.0), want)


def test_balanced_classes_weigh_by_their_share():
    torch.manual_seed(0)
    logits, labels = torch.randn(60, 4), torch.tensor([0] * 40 + [1] * 15 + [2] * 5)
    pairs = [-torch.log_softmax(row, 0)[label].item() for row, label in zip(logits, labels, strict=True)]
    share = {0: 40 / 60, 1: 15 / 60, 2: 5 / 60}
    for balance in (0.0, 0.5, 1.0):
        weights = [share[int(label)] ** -balance for label in labels]
        want = np.dot(weights, pairs) / np.sum(weights)
        assert losses.semantic_consistency(logits, labels, 1.0, balance).item() == pytest.approx(
            want, rel=1e-5
        )


def test_the_papers_equation_1_skips_absent_classes():
    """Point 9: a loop over classes and points; class 3 has no points and adds nothing."""
    torch.manual_seed(0)
    logits, labels = torch.randn(40, 5), torch.randint(0, 5, (40,))
    labels[labels == 3] = 4
    want = 0.0
    for c in set(labels.tolist()):
        own = sum(
            np.exp(z / 0.5) for z, label in zip(logits[:, c].tolist(), labels, strict=True) if label == c
        )
        rest = sum(
            np.exp(z / 0.5) for z, label in zip(logits[:, c].tolist(), labels, strict=True) if label != c
        )
        want -= np.log(own / rest)
    assert losses.semantic_contrast(logits, labels, 0.5).item() == pytest.approx(want, rel=1e-5)
    alone = logits.clone().requires_grad_()
    loss = losses.semantic_contrast(alone, torch.zeros(40, dtype=torch.long), 0.5)
    loss.backward()
    assert loss == 0 and torch.isfinite(alone.grad).all()


def packed(features, labels, cell, text, cap):
    """The paper's code, cell by cell: slots of up to `cap` pairs, empty ones worth one half."""
    total, count = 0.0, 0
    for number in torch.unique(cell):
        mine = torch.nonzero(cell == number).squeeze(1)[:cap]
        anchor = text[labels[mine[0]]]
        weights = (features[mine] @ anchor).softmax(0)
        fused = (weights[:, None] * features[mine]).sum(0)
        total = total + (1 - torch.sigmoid(features[mine] @ fused)).sum()
        total = total + 0.5 * max(0, losses.SLOTS - len(mine))
        count += losses.SLOTS
    return total / count


def joint(features, pixels, labels, cell, text, sharpness):
    """Eq. 2-4, cell by cell."""
    total, cells = 0.0, torch.unique(cell)
    for number in cells:
        mine = torch.nonzero(cell == number).squeeze(1)
        both = torch.cat([pixels[mine], features[mine]])
        scores = torch.cat(
            [
                torch.stack([row @ text[labels[m]] for m, row in zip(mine, part, strict=True)])
                for part in (pixels[mine], features[mine])
            ]
        )
        fused = ((scores / sharpness).softmax(0)[:, None] * both).sum(0)
        total = total + (1 - torch.sigmoid(features[mine] @ fused)).sum()
    return total / len(cells)


@pytest.mark.parametrize("cap", [None, 8, 2])
@pytest.mark.parametrize("cells", [3, 60])
def test_spatial_temporal_equals_the_loop_over_cells(cap, cells):
    """Point 8, in value and gradient, with cells of many pairs and of one."""
    torch.manual_seed(0)
    features, text = torch.randn(90, 16, dtype=torch.float64), unit(5, 16).double()
    labels, cell = torch.randint(0, 5, (90,)), torch.randint(0, cells, (90,))
    cell = torch.unique(cell, return_inverse=True)[1]
    results = []
    for loss in (losses.spatial_temporal, packed):
        mine = features.clone().requires_grad_()
        value = loss(mine, labels, cell, text, cap)
        results.append((value.detach(), torch.autograd.grad(value, mine)[0]))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-8)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-8)


def test_spatial_temporal_without_a_cap_is_the_code_where_no_cell_exceeds_it():
    torch.manual_seed(0)
    features, text = torch.randn(40, 16), unit(5, 16)
    labels, cell = torch.randint(0, 5, (40,)), torch.arange(40) // 4
    free = losses.spatial_temporal(features, labels, cell, text, None)
    assert torch.equal(free, losses.spatial_temporal(features, labels, cell, text, 8))


@pytest.mark.parametrize("sharpness", [1.0, 0.2])
def test_joint_form_equals_the_loop_over_cells(sharpness):
    torch.manual_seed(0)
    features, pixels, text = (
        torch.randn(70, 16, dtype=torch.float64),
        unit(70, 16).double(),
        unit(5, 16).double(),
    )
    labels = torch.randint(0, 5, (70,))
    cell = torch.unique(torch.randint(0, 20, (70,)), return_inverse=True)[1]
    results = []
    for loss in (losses.spatial_temporal_joint, joint):
        mine, theirs = features.clone().requires_grad_(), pixels.clone().requires_grad_()
        value = loss(mine, theirs, labels, cell, text, sharpness)
        results.append((value.detach(), *torch.autograd.grad(value, (mine, theirs))))
    for got, want in zip(*results, strict=True):
        assert torch.allclose(got, want, atol=1e-8)


def test_losses_pass_gradcheck():
    """Point 8: the segment forms have the gradients of what they compute."""
    torch.manual_seed(0)
    features = torch.randn(12, 4, dtype=torch.float64, requires_grad=True)
    pixels, text = torch.randn(12, 4, dtype=torch.float64, requires_grad=True), unit(3, 4).double()
    labels, cell = torch.randint(0, 3, (12,)), torch.arange(12) // 3
    assert torch.autograd.gradcheck(lambda p: losses.spatial_temporal(p, labels, cell, text, 2), features)
    assert torch.autograd.gradcheck(
        lambda p, x: losses.spatial_temporal_joint(p, x, labels, cell, text, 0.5), (features, pixels)
    )


def test_no_pairs_give_zero_losses_with_gradients():
    features = torch.zeros(0, 4, requires_grad=True)
    labels = cell = torch.zeros(0, dtype=torch.long)
    text = unit(3, 4)
    found = [
        losses.semantic_consistency(features @ text.T, labels, 1.0, 0.5),
        losses.semantic_contrast(features @ text.T, labels, 1.0),
        losses.spatial_temporal(features, labels, cell, text, 8),
        losses.spatial_temporal_joint(features, features, labels, cell, text, 1.0),
        losses.image_cosine(features, features),
        losses.unpaired_consistency(features @ text.T, labels, 0.0),
    ]
    for loss in found:
        assert loss == 0
        assert torch.autograd.grad(loss, features)[0].shape == (0, 4)
    assert len(losses.switched_labels(features @ text.T, labels, 0.5, "batch", 0.0, 1)) == 0


def test_cosine_form():
    torch.manual_seed(0)
    points, pixels = torch.randn(9, 4), torch.randn(9, 4)
    want = np.mean(
        [
            1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            for a, b in zip(points.numpy(), pixels.numpy(), strict=True)
        ]
    )
    assert losses.image_cosine(points, pixels).item() == pytest.approx(want, rel=1e-5)


def test_self_training_switches_whole_batches_about_half_the_time():
    """Point 10: targets are the argmax of the same logits, or the teacher's, and the draw is the seed's."""
    torch.manual_seed(0)
    logits, labels = torch.randn(30, 4), torch.randint(0, 4, (30,))
    own, switched = logits.argmax(1), 0
    for seed in range(400):
        got = losses.switched_labels(logits, labels, 0.5, "batch", 0.0, seed)
        assert torch.equal(got, own) or torch.equal(got, labels)
        assert torch.equal(got, losses.switched_labels(logits, labels, 0.5, "batch", 0.0, seed))
        switched += torch.equal(got, own)
    assert 160 < switched < 240


def test_self_training_point_by_point_and_above_a_threshold():
    torch.manual_seed(0)
    logits = torch.randn(4000, 4) * 2
    own = logits.argmax(1)
    labels = (own + 1) % 4
    got = losses.switched_labels(logits, labels, 0.3, "point", 0.0, 0)
    assert (got == own).float().mean().item() == pytest.approx(0.3, abs=0.03)
    sure = logits.softmax(1).amax(1) >= 0.8
    got = losses.switched_labels(logits, labels, 1.0, "point", 0.8, 0)
    assert torch.equal(got == own, sure)


def test_unpaired_points_count_as_often_as_they_are_and_only_when_sure():
    torch.manual_seed(0)
    logits, weights = torch.randn(20, 3) * 3, torch.randint(1, 5, (20,))
    sure = logits.softmax(1).amax(1) >= 0.7
    each = F.cross_entropy(logits, logits.argmax(1), reduction="none")
    expanded = torch.cat([each[i].repeat(int(weights[i])) for i in range(20) if sure[i]])
    assert torch.allclose(losses.unpaired_consistency(logits, weights, 0.7), expanded.mean())


def test_divergence_is_zero_for_equal_classes_and_equals_the_sum_over_classes():
    torch.manual_seed(0)
    logits, scores = torch.randn(20, 4), torch.randn(20, 4)
    p, q = (scores / 0.5).softmax(1), (logits / 0.5).softmax(1)
    want = (p * (p / q).log()).sum(1).mean()
    assert torch.allclose(losses.semantic_divergence(logits, scores, 0.5), want, atol=1e-6)
    assert losses.semantic_divergence(scores + 3, scores, 0.5).item() == pytest.approx(0, abs=1e-6)
    empty = torch.zeros(0, 4, requires_grad=True)
    assert losses.semantic_divergence(empty, empty, 1.0) == 0
