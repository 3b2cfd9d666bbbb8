"""What SPVCNN hands between points and cells, against a loop over points; nothing is lost or mixed."""

import itertools
import math

import pytest
import torch

from scenelift.nn.config import NETWORKS, NetworkConfig, StudentConfig
from scenelift.nn.spvcnn import _corners, build_network, to_cells, to_points
from scenelift.nn.student import Student
from scenelift.sparse.layers import StridedConv
from scenelift.sparse.sites import Sites, Voxels
from tests.made.frames import VOCABULARY

SHAPE = (7, 9, 6)


def scattered(voxels=70, batch=3, empty=1, seed=0):
    """Sites in random order; sample `empty` has none, and the last corner of the odd grid is taken."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.tensor(list(itertools.product(range(batch), *map(range, SHAPE))), dtype=torch.int32)
    cells = cells[cells[:, 0] != empty]
    corner = torch.tensor([[batch - 1, *(n - 1 for n in SHAPE)]], dtype=torch.int32)
    coords = torch.cat((corner, cells[torch.randperm(len(cells), generator=generator)[:voxels]]))
    coords = torch.unique(coords, dim=0)
    coords = coords[torch.randperm(len(coords), generator=generator)]
    features = torch.randn(len(coords), 4, generator=generator, dtype=torch.float64)
    return Voxels.checked(features, coords, SHAPE, batch)


def lowered(voxels, levels):
    """Voxels `levels` strided convolutions down, with random features."""
    for _ in range(levels):
        voxels = StridedConv(4, 4, engine="torch").double()(voxels)
    return voxels.with_features(torch.randn(len(voxels.sites), 4, dtype=torch.float64))


def loop_to_points(cells: Voxels, points: Sites, stride: int):
    """Section 3.1, one point and one corner at a time."""
    at = {tuple(c): f for c, f in zip(cells.sites.coords.tolist(), cells.features, strict=True)}
    rows = []
    for sample, *q in points.coords.tolist():
        total, value = 0.0, torch.zeros(4, dtype=torch.float64)
        for step in itertools.product((0, 1), repeat=3):
            cell = [n // stride + s for n, s in zip(q, step, strict=True)]
            weight = math.prod(1 - abs(n - c * stride) / stride for n, c in zip(q, cell, strict=True))
            if (sample, *cell) in at:
                total += weight
                value = value + weight * at[(sample, *cell)]
        rows.append(value / (total + 1e-8))
    return torch.stack(rows)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_points_read_cells_as_a_loop_over_corners_does(levels):
    points = scattered()
    cells = lowered(points, levels)
    got = to_points(cells, points.sites)
    assert torch.allclose(got, loop_to_points(cells, points.sites, 2**levels), atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_cells_hold_the_mean_of_their_points(levels):
    points = scattered()
    cells = lowered(points, levels)
    got = to_cells(points.features, points.sites, cells.sites)
    assert got.sites is cells.sites
    stride = 2**levels
    for row, (sample, *cell) in enumerate(cells.sites.coords.tolist()):
        mine = [
            i
            for i, (b, *q) in enumerate(points.sites.coords.tolist())
            if b == sample and [n // stride for n in q] == cell
        ]
        assert torch.allclose(got.features[row], points.features[mine].mean(0))


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_weights_sum_to_one_and_a_constant_stays_one(levels):
    points = scattered()
    cells = lowered(points, levels)
    _, weights = _corners(points.sites, cells.sites)
    assert torch.allclose(weights.sum(1), torch.ones(len(weights)))
    assert (weights >= 0).all() and (weights[:, 0] > 0).all(), "a point's own cell is always there"
    ones = cells.with_features(torch.ones(len(cells.sites), 2))
    assert torch.allclose(to_points(ones, points.sites), torch.ones(len(points.sites), 2))


def test_at_stride_one_nothing_changes():
    points = scattered()
    assert torch.equal(to_points(points, points.sites), points.features)
    assert torch.equal(to_cells(points.features, points.sites, points.sites).features, points.features)


@pytest.mark.parametrize("spoiled", [0, 2])
def test_absent_cells_and_other_samples_leak_nothing(spoiled):
    """A value that is not finite stays with the points between whose corners it lies."""
    points = scattered()
    cells = lowered(points, 2)
    features = cells.features.clone()
    features[cells.sites.coords[:, 0] == spoiled] = torch.nan
    got = to_points(cells.with_features(features), points.sites)
    others = points.sites.coords[:, 0] != spoiled
    assert torch.isfinite(got[others]).all()
    assert not torch.isfinite(got[~others]).any()


def test_gradients_are_right():
    points = scattered(voxels=12)
    cells = lowered(points, 2)

    def there_and_back(features):
        read = to_points(cells.with_features(features), points.sites)
        return to_cells(read**2, points.sites, cells.sites).features

    assert torch.autograd.gradcheck(there_and_back, cells.features.requires_grad_())


def test_half_precision_is_averaged_in_float32():
    points = scattered()
    cells = lowered(points, 2).with_features(
        torch.randn(len(lowered(points, 2).sites), 4, dtype=torch.bfloat16)
    )
    assert to_points(cells, points.sites).dtype == torch.float32
    mean = to_cells(points.features.bfloat16(), points.sites, cells.sites).features
    assert mean.dtype == torch.float32


def test_cells_are_looked_up_once_a_batch(monkeypatch):
    from scenelift.nn import spvcnn

    looked = []
    look_up = spvcnn._look_up
    monkeypatch.setattr(spvcnn, "_look_up", lambda *args: looked.append(args[2]) or look_up(*args))
    config = NetworkConfig(8, (8, 8, 8, 8), (8, 8, 8, 8), point_branch=True, engine="torch")
    network, points = build_network(4, config), scattered()
    for _ in range(2):
        network(points.with_features(points.features.float()))
    assert looked == [16, 4]


def test_odd_extents_lose_no_voxel():
    """clip2scene.md 9, point 7: the voxel at the last odd corner has features that follow its own."""
    torch.manual_seed(0)
    points = scattered()
    config = NetworkConfig(8, (8, 8, 8), (8, 8, 8), point_branch=True)
    network = build_network(4, config).eval()
    features = points.features.float().requires_grad_()
    out = network(points.with_features(features))
    assert len(out) == len(points.sites)
    last = (points.sites.coords[:, 1:] == torch.tensor(SHAPE) - 1).all(1).nonzero()[0, 0]
    reached = torch.autograd.grad(out[last].sum(), features)[0][last]
    assert reached.abs().sum() > 0


def test_two_heads_have_the_parameters_of_the_specification():
    """clip2scene.md 9, point 7: 22,266,112 with two 512-d heads on 480-d features."""
    heads = {"semantic": 512, "local": 512}
    whole = Student(StudentConfig(network=NETWORKS["spvcnn"]), 1, torch.eye(3, 512), VOCABULARY, heads)
    assert whole.size == 22_266_112
