"""Sparse layers and networks: against float64 on the CPU, and their speed at three sizes of cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.bench import Bench, Engine, Precision, attempt, difference, precision
from benchmarks.gpu.frames import Frames, move
from scenelift.nn.config import NETWORKS
from scenelift.nn.spvcnn import build_network
from scenelift.sparse.layers import InverseConv, StridedConv, SubmanifoldConv
from scenelift.sparse.sites import Voxels

Layers = Callable[[int, int, Engine], list[nn.Module]]
KINDS: dict[str, Layers] = {
    "submanifold": lambda a, b, engine: [SubmanifoldConv(a, b, engine=engine)],
    "strided": lambda a, b, engine: [StridedConv(a, b, engine=engine)],
    "inverse": lambda a, b, engine: [StridedConv(a, a, engine=engine), InverseConv(a, b, engine=engine)],
}
CHANNELS = ((1, 32), (32, 32), (96, 128), (256, 128))
CLOUDS = {"30k": 2, "120k": 7, "300k": 17}
"""Copies of the real keyframe (17,861 voxels at 0.1 m) in a batch."""


def convolutions(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Difference from the plain engine in float64 on the CPU: output, input gradient, weight gradient."""
    voxels, result = frames.clouds(1), {}
    for kind, layers in KINDS.items():
        for a, b in CHANNELS if not bench.small else ((1, 8),):
            torch.manual_seed(0)
            oracle = nn.ModuleList(layers(a, b, "torch")).double()
            x = torch.randn(len(voxels.sites), a)
            expected = _differentiated(oracle, voxels, x.double(), torch.device("cpu"), "float32")
            for engine in bench.engines:
                ours = nn.ModuleList(layers(a, b, engine)).to(bench.device)
                ours.load_state_dict({name: weight.float() for name, weight in oracle.state_dict().items()})
                for arithmetic in bench.precisions:
                    result[f"{kind} {a}>{b} {engine} {arithmetic}"] = attempt(
                        _convolved, bench, ours, voxels, x, arithmetic, expected
                    )
    for engine in bench.engines:  # a trained backbone whose batch norms are fixed is in evaluation mode
        layer = SubmanifoldConv(1, 8, engine=engine).to(bench.device).eval()
        result[f"evaluation mode has a gradient, {engine}"] = bool(
            layer(move(voxels, bench.device)).features.requires_grad
        )
    return result


def _convolved(
    bench: Bench,
    layers: nn.ModuleList,
    voxels: Voxels,
    x: Tensor,
    arithmetic: Precision,
    expected: tuple[Tensor, Tensor, Tensor],
) -> list[float]:
    layers.zero_grad()
    ours = _differentiated(layers, voxels, x, bench.device, arithmetic)
    return [difference(o, e) for o, e in zip(ours, expected, strict=True)]


def _differentiated(
    layers: nn.ModuleList, voxels: Voxels, x: Tensor, device: torch.device, arithmetic: Precision
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the input and of the last weight for a fixed random gradient of the output."""
    x = x.detach().clone().to(device).requires_grad_()
    y = Voxels(x, move(voxels, device).sites)
    with precision(arithmetic, device) as autocast:
        with autocast:
            for layer in layers:
                y = layer(y)
        noise = torch.randn(y.features.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (y.features.double() * noise.to(device)).sum().backward()
    weight = layers[-1].get_parameter("conv.weight")
    assert x.grad is not None and weight.grad is not None
    return y.features.detach(), x.grad, weight.grad


def networks(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Difference of whole networks from float64 on the CPU: output, and all gradients together."""
    voxels, result = frames.clouds(1), {}
    for name in ("minkunet14a", "spvcnn") if not bench.small else ("tiny",):
        torch.manual_seed(0)
        start = build_network(1, replace(NETWORKS[name], engine="torch")).state_dict()
        oracle = build_network(1, replace(NETWORKS[name], engine="torch"))
        oracle.load_state_dict(start)
        expected = _trained(oracle.double(), voxels, torch.device("cpu"), "float32")
        for engine in bench.engines:
            for arithmetic in bench.precisions:
                network = build_network(1, replace(NETWORKS[name], engine=engine)).to(bench.device)
                network.load_state_dict(start)
                key = f"{name} {engine} {arithmetic}"
                result[key] = attempt(_apart, bench, network, voxels, arithmetic, expected)
    return result


def _apart(
    bench: Bench, network: nn.Module, voxels: Voxels, arithmetic: Precision, expected: tuple[Tensor, Tensor]
) -> dict[str, float]:
    ours = _trained(network, voxels, bench.device, arithmetic)
    return {"output": difference(ours[0], expected[0]), "gradients": difference(ours[1], expected[1])}


def _trained(
    network: nn.Module, voxels: Voxels, device: torch.device, arithmetic: Precision
) -> tuple[Tensor, Tensor]:
    """Output, and the gradients of all parameters in a row."""
    dtype = next(network.parameters()).dtype
    with precision(arithmetic, device) as autocast:
        with autocast:
            out = network.train()(move(voxels, device, dtype))
        noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (out.double() * noise.to(device)).sum().backward()
    gradients = [p.grad.flatten().double() for p in network.parameters() if p.grad is not None]
    assert len(gradients) == len(list(network.parameters())), "a parameter has no gradient"
    return out.detach(), torch.cat(gradients)


def network_speed(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Milliseconds of forward and backward, and of forward alone, at 30k, 120k and 300k voxels."""
    result = {}
    names = ("minkunet14a", "minkunet18a", "minkunet34c", "spvcnn") if not bench.small else ("tiny",)
    for size, copies in CLOUDS.items() if not bench.small else (("small", 1),):
        voxels = move(frames.clouds(copies), bench.device)
        for name in names:
            for engine in bench.engines:
                slow = engine == "torch" and "spconv" in bench.engines and bench.cuda
                for arithmetic in ("float32",) if slow else bench.precisions:
                    if (slow and size != "120k") or (not bench.small and bench.left < 15):
                        continue
                    network = build_network(1, replace(NETWORKS[name], engine=engine)).to(bench.device)
                    key = f"{name} {len(voxels.sites)} {engine} {arithmetic}"
                    result[key] = attempt(_timed, bench, network.train(), voxels, arithmetic)
    return result


def _timed(bench: Bench, network: nn.Module, voxels: Voxels, arithmetic: Precision) -> dict[str, Any]:
    def step() -> None:
        with precision(arithmetic, bench.device) as autocast:
            with autocast:
                out = network(move(voxels, bench.device))
            out.float().square().mean().backward()
        network.zero_grad(set_to_none=True)

    def forward() -> None:
        with torch.no_grad(), precision(arithmetic, bench.device) as autocast, autocast:
            network(move(voxels, bench.device))

    return bench.time(step, 5, 2) | {"forward_ms": bench.time(forward, 3, 1)["ms"]}
