"""What networks rely on in any engine of sparse convolutions: one function that an engine from outside is run
through. It is held against plain torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scenelift.errors import ConfigError
from scenelift.sparse.layers import MakeConv
from scenelift.sparse.sites import Geometry, Sites, Voxels, coarser
from scenelift.sparse.torch_engine import TorchConv

_CASES = {
    "submanifold": (Geometry(3, padding=1), Geometry(3, padding=2, dilation=2), Geometry(5, padding=2)),
    "strided": (Geometry(2, stride=2), Geometry(3, stride=2, padding=1)),
    "inverse": (Geometry(2, stride=2), Geometry(3, stride=2, padding=1)),
}
_CHANNELS = (5, 7)
_CLOSE = 1e-3
"""Largest difference from plain torch, as a share of the largest value: float32 in another order."""


def check_engine(make: MakeConv, device: torch.device | str = "cpu") -> None:
    """ConfigError, in one line, for the first convolution that gives another result than plain torch, or other
    gradients. make: the class, as `scenelift.sparse.layers.engine_class` returns it."""
    for kind, geometries in _CASES.items():
        for geometry in geometries:
            _check(make, kind, geometry, torch.device(device))


def _check(make: MakeConv, kind: str, geometry: Geometry, device: torch.device) -> None:
    case = f"{kind} with kernel {geometry.kernel}, stride {geometry.stride}, dilation {geometry.dilation}"
    torch.manual_seed(0)
    oracle, conv = TorchConv(kind, _CHANNELS, geometry).to(device), _made(make, kind, geometry, device)
    named = [name for name, _ in conv.named_parameters()]
    if named != ["weight"] or next(conv.parameters()).shape != oracle.weight.shape:
        shape = list(oracle.weight.shape)
        raise ConfigError(f"the engine does not fit: {case} has no single parameter, weight, of {shape}")
    with torch.no_grad():
        oracle.weight.normal_()
        next(conv.parameters()).copy_(oracle.weight)
    wanted = _results(oracle, TorchConv, kind, geometry, device)
    found = _results(conv, make, kind, geometry, device)
    for what, right, other in zip(("features", "gradients", "weight gradients"), wanted, found, strict=True):
        if right.shape != other.shape:
            raise ConfigError(f"the engine does not fit: {case} gives {what} of {list(other.shape)}")
        if not bool((right - other).abs().max() <= _CLOSE * right.abs().max()):
            raise ConfigError(f"the engine does not fit: {case} gives other {what} than plain torch")


def _made(make: MakeConv, kind: str, geometry: Geometry, device: torch.device) -> nn.Module:
    conv = make(kind, _CHANNELS, geometry)
    if not isinstance(conv, nn.Module):
        raise ConfigError(f"the engine does not fit: it makes a {type(conv).__name__}, not a torch module")
    return conv.to(device)


def _results(
    conv: nn.Module, make: MakeConv, kind: str, geometry: Geometry, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and gradients of the input and of the weight, on sites of two samples."""
    sites = _sites(device)
    target = sites if kind == "submanifold" else coarser(sites, geometry)
    source, target = (target, sites) if kind == "inverse" else (sites, target)
    if kind == "inverse":  # it goes back to where a strided one of its kernel came from
        forth = _made(make, "strided", geometry, device)
        forth(torch.zeros(len(sites), _CHANNELS[0], device=device), sites, source)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(len(source), _CHANNELS[0], generator=generator).to(device).requires_grad_()
    out = conv(features, source, target)
    loss = (out * torch.randn(out.shape, generator=generator).to(device)).sum()
    of_features, of_weight = torch.autograd.grad(loss, (features, *conv.parameters()))
    return out.detach(), of_features, of_weight


def _sites(device: torch.device) -> Sites:
    generator = torch.Generator().manual_seed(2)
    shape = (9, 11, 6)
    cells = torch.stack([torch.randint(0, each, (400,), generator=generator) for each in (2, *shape)], 1)
    coords = torch.unique(cells, dim=0).int().to(device)
    return Voxels.checked(torch.zeros(len(coords), 1, device=device), coords, shape, 2).sites
