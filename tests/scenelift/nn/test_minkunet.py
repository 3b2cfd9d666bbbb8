"""The networks have the specification's sizes, keep the order of voxels, and their engines agree."""

from dataclasses import replace

import pytest
import torch

from scenelift.config import build as configuration
from scenelift.errors import ConfigError
from scenelift.nn.config import NETWORKS, NetworkConfig, StudentConfig
from scenelift.nn.minkunet import MinkUNet
from scenelift.nn.spvcnn import SPVCNN, build_network
from scenelift.points.config import VoxelConfig
from scenelift.sparse.sites import Voxels

PLAIN = NetworkConfig(8, (8, 12), (12, 8), (1, 2, 2, 1), stem_convs=2)
POINTS = replace(PLAIN, point_branch=True)
BOTH = pytest.mark.parametrize("config", [PLAIN, POINTS], ids=["unet", "spvcnn"])


def cloud(channels=3, voxels=300, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.randint(0, 19, (voxels, 4), generator=generator, dtype=torch.int32)
    coords[:, 0] %= batch
    coords = torch.unique(coords, dim=0)
    return Voxels.checked(
        torch.randn(len(coords), channels, generator=generator), coords, (19, 19, 19), batch
    )


def size(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "parameters", "out"),
    [
        ("minkunet14a", 3, 8_013_152, 96),
        ("minkunet14a", 1, 8_013_152 - 2 * 27 * 32, 96),
        ("spvcnn", 1, 21_773_568, 480),
        ("spvcnn", 3, 21_773_568 + 2 * 27 * 32, 480),
    ],
)
def test_networks_have_the_parameters_of_the_specification(name, channels, parameters, out):
    """clip2scene.md 9, point 7."""
    network = build_network(channels, NETWORKS[name])
    assert (size(network), network.out_channels) == (parameters, out)


def conv(a, b, kernel=3):
    """Parameters of a convolution without bias and its batch norm."""
    return a * b * kernel**3 + 2 * b


@pytest.mark.parametrize(
    ("name", "planes", "layers"),
    [
        ("minkunet14a", (32, 64, 128, 256, 128, 128, 96, 96), (1,) * 8),
        ("minkunet18a", (32, 64, 128, 256, 128, 128, 96, 96), (2,) * 8),
        ("minkunet34c", (32, 64, 128, 256, 256, 128, 96, 96), (2, 3, 4, 6, 2, 2, 2, 2)),
    ],
)
def test_minkunets_have_the_planes_and_layers_of_the_family(name, planes, layers):
    """Counted by hand from the table of MinkowskiEngine's model zoo, with a 3x3x3 stem."""
    skips = (planes[2], planes[1], planes[0], 32)
    count, width = conv(3, 32), 32
    for level, (plane, layer) in enumerate(zip(planes, layers, strict=True)):
        down = level < 4
        count += conv(width, width if down else plane, kernel=2)
        width = width if down else plane + skips[level - 4]
        for _ in range(layer):
            count += conv(width, plane) + conv(plane, plane)
            count += conv(width, plane, kernel=1) if width != plane else 0
            width = plane
    assert size(build_network(3, NETWORKS[name])) == count


def test_batch_norms_have_the_specifications_momentum():
    """clip2scene.md 3: 0.1 everywhere in SPVCNN; in MinkUNet 0.05 but for the inside of blocks."""
    for name, want in (("spvcnn", {0.1}), ("minkunet14a", {0.05, 0.1})):
        norms = [m for m in build_network(1, NETWORKS[name]).modules() if isinstance(m, torch.nn.BatchNorm1d)]
        assert {norm.momentum for norm in norms} == want
        assert {norm.eps for norm in norms} == {1e-5}


@BOTH
def test_both_engines_give_the_same_features_and_gradients(config):
    torch.manual_seed(0)
    spconv, plain = (build_network(3, replace(config, engine=e)).eval() for e in ("spconv", "torch"))
    plain.load_state_dict(spconv.state_dict())
    outputs = [network(cloud()) for network in (spconv, plain)]
    assert torch.allclose(*outputs, atol=1e-5)
    for out in outputs:
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    for one, other in zip(spconv.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-4 * one.grad.abs().max())


@BOTH
def test_shuffled_voxels_give_shuffled_features(config):
    """In evaluation a voxel's features follow from its surroundings, not from its row."""
    torch.manual_seed(0)
    network, voxels = build_network(3, config).eval(), cloud()
    order = torch.randperm(len(voxels.sites))
    shuffled = Voxels.checked(voxels.features[order], voxels.sites.coords[order], voxels.sites.shape, 2)
    assert torch.allclose(network(voxels)[order], network(shuffled), atol=1e-5)


@BOTH
def test_samples_of_a_batch_do_not_see_each_other(config):
    torch.manual_seed(0)
    network, voxels = build_network(3, config).eval(), cloud()
    first = voxels.sites.coords[:, 0] == 0
    alone = Voxels.checked(voxels.features[first], voxels.sites.coords[first], voxels.sites.shape, 1)
    assert torch.allclose(network(voxels)[first], network(alone), atol=1e-5)


@BOTH
def test_every_parameter_learns(config):
    """In evaluation, since a bias before a batch norm has no gradient in training."""
    network, voxels = build_network(3, config).eval(), cloud()
    network(voxels).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@BOTH
@pytest.mark.parametrize("voxels", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_empty_and_single_voxel_batches_are_finite_and_connected(config, voxels, training):
    torch.manual_seed(0)
    network = build_network(3, config).train(training)
    coords = torch.tensor([[1, 4, 0, 2]], dtype=torch.int32)[:voxels]
    out = network(Voxels.checked(torch.ones(voxels, 3), coords, (5, 5, 5), 2))
    assert out.shape == (voxels, network.out_channels)
    assert torch.isfinite(out).all()
    out.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder": (8, 8), "decoder": (8,)}, "as many decoder"),
        ({"blocks": (1, 2)}, "takes one number, or 8 for 4 levels"),
        ({"blocks": (0,)}, "at least 1"),
        ({"stem_convs": 0}, "at least 1"),
        ({"momentum": 0.0}, "momentum must be more than 0"),
        ({"encoder": (8,), "decoder": (8,), "point_branch": True}, "at least 2 levels"),
    ],
)
def test_impossible_networks_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**values)


def test_the_command_line_and_older_files_describe_networks():
    given = {"point_branch": "true", "stem_convs": "2", "blocks": "2", "decoder": ["256", "128", "96", "96"]}
    assert configuration.override(NetworkConfig(), {**given, "momentum": "0.1"}) == NETWORKS["spvcnn"]
    older = {"stem": 16, "encoder": [24, 32, 48], "decoder": [48, 32, 32], "blocks": 1, "engine": "auto"}
    assert configuration.from_dict(NetworkConfig, older) == NETWORKS["tiny"], "blocks were one number"


def test_a_network_is_chosen_by_name_and_changed_beside_it():
    config = configuration.override(
        StudentConfig(), {"network.engine": "torch", "network": "spvcnn", "voxels.size": "0.2"}
    )
    assert config == StudentConfig(VoxelConfig(0.2), replace(NETWORKS["spvcnn"], engine="torch"))
    with pytest.raises(ConfigError, match="did you mean spvcnn"):
        configuration.override(StudentConfig(), {"network": "spvcn"})
    with pytest.raises(ConfigError, match="unknown key voxels"):
        configuration.override(StudentConfig(), {"voxels": "spvcnn"})


def test_a_point_branch_makes_an_spvcnn():
    assert type(build_network(1, PLAIN)) is MinkUNet
    assert type(build_network(1, POINTS)) is SPVCNN
