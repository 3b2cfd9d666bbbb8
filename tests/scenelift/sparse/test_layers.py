"""Both sparse engines against a dense float64 convolution, and every trap of spconv closed or refused."""

import gc
import itertools
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from scenelift.nn.config import NetworkConfig
from scenelift.nn.spvcnn import build_network
from scenelift.sparse.layers import (
    BatchNorm,
    InverseConv,
    StridedConv,
    SubmanifoldConv,
    resolve_engine,
)
from scenelift.sparse.sites import Sites, Voxels

ENGINES = ["torch", "spconv"]
CHANNELS = (3, 5)


def scattered(shape=(7, 9, 6), batch=3, voxels=60, empty=1, seed=0):
    """Random sites in random order; sample `empty` has none, one voxel is isolated at the last odd corner."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.tensor(list(itertools.product(range(batch), *map(range, shape))), dtype=torch.int32)
    cells = cells[cells[:, 0] != empty]
    coords = cells[torch.randperm(len(cells), generator=generator)[:voxels]]
    corner = torch.tensor([[batch - 1, *(n - 1 for n in shape)]], dtype=torch.int32)
    coords = torch.unique(torch.cat((corner, coords)), dim=0)
    coords = coords[torch.randperm(len(coords), generator=generator)]
    features = torch.randn(len(coords), CHANNELS[0], generator=generator, dtype=torch.float64)
    return Voxels.checked(features, coords, shape, batch)


def dense(features, sites: Sites, shape=None):
    grid = features.new_zeros(sites.batch_size, *(shape or sites.shape), features.shape[1])
    return grid.index_put(tuple(sites.coords.long().T), features).permute(0, 4, 1, 2, 3)


def at(grid, sites: Sites):
    return grid.permute(0, 2, 3, 4, 1)[tuple(sites.coords.long().T)]


def both_gradients(layer, voxels, oracle):
    """Outputs and gradients (features, weight) of the layer and of a dense oracle on the same numbers."""
    results = []
    for run in (lambda f: layer(Voxels(f, voxels.sites)).features, oracle):
        features = voxels.features.detach().clone().requires_grad_()
        layer.zero_grad()
        out = run(features)
        loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
        grads = torch.autograd.grad(loss, (features, layer.conv.weight))
        results.append((out, *grads))
    return results


def agree(pair, tolerance):
    for got, want in zip(*pair, strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() <= tolerance * max(1.0, float(want.detach().abs().max()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (3, 2)])
def test_submanifold_equals_dense(engine, kernel, dilation):
    voxels = scattered()
    layer = SubmanifoldConv(*CHANNELS, kernel, dilation, engine=engine).double()

    def oracle(features):
        weight = layer.conv.weight.permute(0, 4, 1, 2, 3)
        grid = F.conv3d(
            dense(features, voxels.sites), weight, padding=dilation * (kernel // 2), dilation=dilation
        )
        return at(grid, voxels.sites)

    agree(both_gradients(layer, voxels, oracle), 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (4, 4, 0), (3, 2, 0)]
)
def test_strided_equals_dense_and_loses_no_voxel(engine, kernel, stride, padding):
    voxels = scattered()
    layer = StridedConv(*CHANNELS, kernel, stride, padding, engine=engine).double()
    out = layer(voxels)
    room = layer.geometry.covered(voxels.sites.shape)

    def dense_conv(features, weight):
        return F.conv3d(dense(features, voxels.sites, room), weight, stride=stride, padding=padding)

    ones = torch.ones(len(voxels.features), 1, dtype=torch.float64)
    touched = dense_conv(ones, torch.ones(1, 1, kernel, kernel, kernel, dtype=torch.float64))
    assert {tuple(c) for c in out.sites.coords.tolist()} == {
        tuple(c) for c in torch.nonzero(touched[:, 0] > 0.5).tolist()
    }
    if kernel == stride:
        assert touched.sum() == len(voxels.features), "every voxel falls into exactly one cell"

    def oracle(features):
        return at(dense_conv(features, layer.conv.weight.permute(0, 4, 1, 2, 3)), out.sites)

    agree(both_gradients(layer, voxels, oracle), 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1)])
def test_inverse_equals_dense_and_returns_in_the_original_order(engine, kernel, stride, padding):
    voxels = scattered(shape=(7, 8, 5))
    down = StridedConv(3, 4, kernel, stride, padding, engine=engine).double()
    up = InverseConv(4, 6, kernel, stride, padding, engine=engine).double()
    coarse = down(voxels)
    coarse = coarse.with_features(coarse.features.detach())
    assert up(coarse).sites is voxels.sites

    def oracle(features):
        grid = dense(features, coarse.sites)
        full = F.conv_transpose3d(
            grid, up.conv.weight.permute(4, 0, 1, 2, 3), stride=stride, padding=padding, output_padding=1
        )
        return at(full, voxels.sites)

    agree(both_gradients(up, coarse, oracle), 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_pass_over_the_same_sites_gives_the_same_numbers(engine):
    voxels = scattered()
    down, up = StridedConv(3, 4, engine=engine).double(), InverseConv(4, 3, engine=engine).double()
    assert torch.equal(up(down(voxels)).features, up(down(voxels)).features)


def test_checkpoints_fit_either_engine():
    for kind in (SubmanifoldConv, StridedConv):
        ours, theirs = kind(3, 4, engine="torch"), kind(3, 4, engine="spconv")
        theirs.load_state_dict(ours.state_dict())
        voxels = scattered()
        voxels = voxels.with_features(voxels.features.float())
        assert torch.allclose(ours(voxels).features, theirs(voxels).features, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_passes_and_keeps_gradients_defined(engine, training):
    voxels = Voxels.checked(torch.zeros(0, 3), torch.zeros(0, 4, dtype=torch.int32), (4, 4, 4), 2)
    layers = nn.ModuleList(
        [
            SubmanifoldConv(3, 4, engine=engine),
            StridedConv(4, 5, engine=engine),
            InverseConv(5, 2, engine=engine),
        ]
    ).train(training)
    out = voxels
    for layer in layers:
        out = layer(out)
    assert out.features.shape == (0, 2)
    out.features.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in layers.parameters())
    assert BatchNorm(2).train(training)(out.features).shape == (0, 2)


def test_batch_norm_of_one_voxel_leaves_its_statistics_alone():
    norm = BatchNorm(2)
    norm(torch.randn(1, 2))
    assert torch.equal(norm.running_mean, torch.zeros(2))
    norm(torch.randn(8, 2))
    assert norm.running_mean.any()


@pytest.mark.parametrize("engine", ENGINES)
def test_bfloat16_autocast_is_left_outside(engine):
    voxels = scattered()
    layer = SubmanifoldConv(*CHANNELS, engine=engine)
    features = voxels.features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(voxels.with_features(features)).features
    want = layer(voxels.with_features(features.float())).features
    assert out.dtype == torch.float32
    assert torch.equal(out, want)


@pytest.mark.parametrize("engine", ENGINES)
def test_evaluation_mode_gives_what_training_gives(engine):
    voxels, layer = scattered(), SubmanifoldConv(*CHANNELS, engine=engine).double()
    assert torch.equal(layer.train()(voxels).features, layer.eval()(voxels).features)


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        ([[0, 0, 0, 0], [0, 0, 0, 0]], "duplicate"),
        ([[0, 0, 0, 4]], "outside"),
        ([[0, -1, 0, 0]], "outside"),
        ([[1, 0, 0, 0]], "outside"),
    ],
)
def test_bad_coordinates_are_refused(coords, message):
    coords = torch.tensor(coords, dtype=torch.int32)
    with pytest.raises(AssertionError, match=message):
        Voxels.checked(torch.zeros(len(coords), 1), coords, (4, 4, 4), 1)
    with pytest.raises(AssertionError, match="int32"):
        Voxels.checked(torch.zeros(len(coords), 1), coords.long(), (4, 4, 4), 1)


def test_kernels_that_spconv_gets_wrong_are_refused():
    with pytest.raises(AssertionError, match="Linear"):
        SubmanifoldConv(3, 3, kernel=1)
    with pytest.raises(AssertionError, match="Linear"):
        StridedConv(3, 3, kernel=1, stride=1)
    with pytest.raises(AssertionError, match="odd"):
        SubmanifoldConv(3, 3, kernel=2)
    with pytest.raises(AssertionError, match="skip"):
        StridedConv(3, 3, kernel=2, stride=3)


@pytest.mark.parametrize("point_branch", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_tables_of_a_batch_that_is_gone_are_freed_at_once(engine, point_branch):
    """A cycle kept four levels of them until the garbage collector came by, 34 MB of a real batch."""
    config = NetworkConfig(8, (8, 8), (8, 8), point_branch=point_branch, engine=engine)
    network = build_network(3, config)
    voxels = scattered()
    voxels = Voxels(voxels.features.float(), voxels.sites)
    gc.collect()
    gc.disable()
    try:
        network(voxels).sum().backward()
        seen = weakref.ref(voxels.sites)
        del voxels
        assert seen() is None
    finally:
        gc.enable()


def test_an_inverse_needs_its_strided_partner():
    voxels = scattered()
    with pytest.raises(AssertionError, match="strided"):
        InverseConv(3, 3)(voxels)
    coarse = StridedConv(3, 3).double()(voxels)
    with pytest.raises(AssertionError, match="another kernel"):
        InverseConv(3, 3, kernel=3, padding=1)(coarse)


def test_large_grids_do_not_overflow():
    far = torch.tensor([[3, 1999, 1999, 1999], [0, 0, 0, 0], [3, 1998, 1999, 1999]], dtype=torch.int32)
    voxels = Voxels.checked(torch.randn(3, 3), far, (2000, 2000, 2000), 4)
    layers = {e: SubmanifoldConv(3, 2, engine=e) for e in ENGINES}
    layers["spconv"].load_state_dict(layers["torch"].state_dict())
    assert torch.allclose(layers["torch"](voxels).features, layers["spconv"](voxels).features, atol=1e-6)


def test_auto_takes_spconv_where_it_is_installed():
    assert resolve_engine("auto") == "spconv"
    assert resolve_engine("torch") == "torch"
