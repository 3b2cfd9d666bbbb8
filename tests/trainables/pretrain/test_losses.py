"""The losses of PPKT and SLidR against loops."""

import pytest
import torch
from torch.nn import functional as F

from trainables.pretrain import losses as contrast


def same(got, want, inputs):
    """Equal in value and in the gradients of the inputs."""
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-5)
    grads = [torch.autograd.grad(loss, inputs) for loss in (got, want)]
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
        assert one.abs().sum() > 0


def loop_nce(points, pixels, temperature):
    terms = []
    for i in range(len(points)):
        similar = [torch.exp(points[i] @ pixel / temperature) for pixel in pixels]
        terms.append(-torch.log(similar[i] / sum(similar)))
    return sum(terms) / len(terms)


def test_ppkt_equals_a_loop_over_pairs():
    torch.manual_seed(0)
    points, pixels = (torch.randn(9, 5, requires_grad=True) for _ in range(2))
    units = [[row / row.square().sum().sqrt() for row in rows] for rows in (points, pixels)]
    same(contrast.ppkt(points, pixels, 0.07), loop_nce(*units, 0.07), (points, pixels))


def loop_means(grid, superpixels, align):
    """{(image, superpixel): mean unit feature}, from the grid upsampled to all pixels."""
    full = F.interpolate(grid, superpixels.shape[1:], mode="bilinear", align_corners=align)
    unit = full / full.square().sum(1, keepdim=True).sqrt()
    return {
        (i, s): torch.stack([unit[i, :, r, c] for r, c in torch.nonzero(superpixels[i] == s)]).mean(0)
        for i in range(len(grid))
        for s in superpixels[i].unique().tolist()
    }


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("cells", [(3, 5), (1, 4), (2, 1), (11, 14), (20, 30)])
def test_mean_pixels_equal_those_of_the_upsampled_map(align, cells):
    torch.manual_seed(0)
    grid = torch.randn(2, 6, *cells, requires_grad=True)
    superpixels = torch.randint(0, 5, (2, 11, 14))
    superpixels[superpixels == 3] = 4
    got = contrast.mean_pixels(grid, superpixels, 7, align)
    want = loop_means(grid, superpixels, align)
    assert got.shape == (2, 7, 6)
    for empty in (3, 5, 6):
        assert (got[:, empty] == 0).all()
    weight = torch.randn(2, 7, 6)
    total = sum((weight[i, s] * mean).sum() for (i, s), mean in want.items())
    for (i, s), mean in want.items():
        assert torch.allclose(got[i, s], mean, atol=1e-5)
    same((weight * got).sum(), total, (grid,))


@pytest.mark.parametrize("align", [True, False])
def test_slidr_equals_a_loop_over_superpixels(align):
    torch.manual_seed(0)
    grid = torch.randn(2, 6, 3, 4, requires_grad=True)
    points = torch.randn(30, 6, requires_grad=True)
    superpixels = torch.randint(0, 9, (2, 9, 12))
    pixels = torch.stack([torch.randint(0, size, (30,)) for size in (2, 9, 12)], 1)
    shown = {}
    for point, (i, r, c) in zip(points, pixels.tolist(), strict=True):
        shown.setdefault((i, superpixels[i, r, c].item()), []).append(point / point.norm())
    assert len(shown) < 18, "superpixels without points must be left out"
    means = loop_means(grid, superpixels, align)
    k = [torch.stack(shown[key]).mean(0) for key in shown]
    q = [means[key] for key in shown]
    got = contrast.slidr(points, pixels, grid, superpixels, 0.07, align)
    same(got, loop_nce(k, q, 0.07), (points, grid))


def test_opposite_neighbours_leave_gradients_finite():
    """Half way between two opposite cells a feature has no direction."""
    grid = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2).repeat(1, 4, 1, 1).requires_grad_()
    means = contrast.mean_pixels(grid, torch.zeros(1, 1, 3, dtype=torch.long), 1, align_corners=True)
    means.sum().backward()
    assert torch.isfinite(means).all() and torch.isfinite(grid.grad).all()
