"""Lovasz-softmax against loops over classes and sorted errors, and against IoU where the two must agree."""

import numpy as np
import pytest
import torch

from scenelift.nn.lovasz import lovasz_softmax


def by_loops(logits, labels):
    """Each class: errors from the largest down, each times what it adds to 1 - IoU if all up to it are wrong."""
    probabilities = logits.softmax(1)
    losses = []
    for label in range(logits.shape[1]):
        truth = [int(value == label) for value in labels]
        if not any(truth):
            continue
        errors = [abs(truth[i] - probabilities[i, label]) for i in range(len(truth))]
        total, before, wrong = logits.sum() * 0, 0.0, set()
        for i in sorted(range(len(errors)), key=lambda i: -errors[i].item()):
            wrong.add(i)
            left = sum(truth[j] and j not in wrong for j in range(len(truth)))
            union = sum(truth[j] or j in wrong for j in range(len(truth)))
            total = total + errors[i] * (1 - left / union - before)
            before = 1 - left / union
        losses.append(total)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (1, 3), (2,)])
def test_equals_the_loops_in_value_and_gradient(present):
    torch.manual_seed(len(present))
    labels = torch.tensor(present)[torch.randint(len(present), (40,))]
    logits = (2 * torch.randn(40, 4)).requires_grad_()
    (want,) = torch.autograd.grad(by_loops(logits, labels), logits)
    (got,) = torch.autograd.grad(lovasz_softmax(logits, labels), logits)
    assert lovasz_softmax(logits, labels).item() == pytest.approx(by_loops(logits, labels).item(), rel=1e-5)
    assert torch.allclose(got, want, atol=1e-6)


def test_for_sure_predictions_it_is_one_minus_iou():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    iou = [np.sum((truth == c) & (said == c)) / np.sum((truth == c) | (said == c)) for c in range(3)]
    logits = 100 * torch.nn.functional.one_hot(torch.from_numpy(said), 5).float()
    assert lovasz_softmax(logits, torch.from_numpy(truth)).item() == pytest.approx(1 - np.mean(iou), rel=1e-5)


def test_without_rows_it_is_zero_and_has_a_gradient():
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = lovasz_softmax(logits, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
