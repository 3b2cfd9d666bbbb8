"""The U-Net has the specification's size, keeps the order of voxels, and its engines agree."""

import pytest
import torch

from scenelift.errors import ConfigError
from scenelift.networks import MINKUNET14A, MINKUNET_TINY, MinkUNet, MinkUNetConfig
from scenelift.sparse import Voxels


def cloud(channels=3, voxels=300, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    coords = torch.randint(0, 19, (voxels, 4), generator=generator, dtype=torch.int32)
    coords[:, 0] %= batch
    coords = torch.unique(coords, dim=0)
    return Voxels.checked(
        torch.randn(len(coords), channels, generator=generator), coords, (19, 19, 19), batch
    )


def test_minkunet14a_has_the_parameters_of_the_specification():
    """clip2scene.md 9, point 7: 8,013,152 for three input channels, 96-d out; one channel has a smaller stem."""
    network = MinkUNet(3, MINKUNET14A)
    assert sum(p.numel() for p in network.parameters()) == 8_013_152
    assert network.out_channels == 96
    smaller = MinkUNet(1, MINKUNET14A)
    assert sum(p.numel() for p in smaller.parameters()) == 8_013_152 - 2 * 27 * 32


def test_both_engines_give_the_same_features():
    torch.manual_seed(0)
    spconv = MinkUNet(3, MinkUNetConfig(8, (8, 12), (12, 8), engine="spconv")).eval()
    plain = MinkUNet(3, MinkUNetConfig(8, (8, 12), (12, 8), engine="torch")).eval()
    plain.load_state_dict(spconv.state_dict())
    voxels = cloud()
    assert torch.allclose(spconv(voxels), plain(voxels), atol=1e-5)


def test_shuffled_voxels_give_shuffled_features():
    """In evaluation a voxel's features follow from its surroundings, not from its row."""
    torch.manual_seed(0)
    network, voxels = MinkUNet(3, MINKUNET_TINY).eval(), cloud()
    order = torch.randperm(len(voxels.sites))
    shuffled = Voxels.checked(voxels.features[order], voxels.sites.coords[order], voxels.sites.shape, 2)
    assert torch.allclose(network(voxels)[order], network(shuffled), atol=1e-5)


def test_samples_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    network, voxels = MinkUNet(3, MINKUNET_TINY).eval(), cloud()
    first = voxels.sites.coords[:, 0] == 0
    alone = Voxels.checked(voxels.features[first], voxels.sites.coords[first], voxels.sites.shape, 1)
    assert torch.allclose(network(voxels)[first], network(alone), atol=1e-5)


def test_every_parameter_learns():
    network, voxels = MinkUNet(3, MINKUNET_TINY), cloud()
    network(voxels).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_levels_must_match():
    with pytest.raises(ConfigError, match="as many decoder"):
        MinkUNetConfig(encoder=(8, 8), decoder=(8,))
