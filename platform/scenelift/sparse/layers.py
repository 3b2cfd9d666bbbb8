"""Sparse 3D convolution behind one interface: spconv on GPU and CPU, plain torch as oracle and fallback.

The traps of spconv (k=1 kernels, bias in evaluation, default algorithm without a GPU, bfloat16, empty inputs, odd
extents that lose voxels, unchecked coordinates) are closed in this room, so networks need not know them.

Weights of both engines have the layout (out, kx, ky, kz, in) and the same names: checkpoints fit either.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from scenelift.config.outside import load
from scenelift.errors import ConfigError
from scenelift.sparse.config import ENGINES, GROUP, Engine
from scenelift.sparse.sites import Geometry, Sites, Voxels, coarser, known_coarser
from scenelift.sparse.spconv_engine import SpconvConv, allow_tf32
from scenelift.sparse.torch_engine import TorchConv


def resolve_engine(engine: Engine) -> str:
    """Which engine `auto` means here; ConfigError when spconv is asked for and not installed."""
    if engine not in ENGINES:
        return engine
    installed = importlib.util.find_spec("spconv") is not None
    if engine == "spconv" and not installed:
        raise ConfigError("spconv is not installed here; install spconv-cu120 or set the engine to torch")
    return "spconv" if engine != "torch" and installed else "torch"


def use_tf32(allowed: bool) -> None:
    """Whether convolutions of this process round their float32 inputs to TF32 on a GPU, to use its tensor cores.

    Matrix products, and so similarities and losses, stay float32 whatever is said here.
    """
    torch.backends.cudnn.allow_tf32 = allowed
    if torch.cuda.is_available() and resolve_engine("auto") == "spconv":
        allow_tf32(allowed)


class Conv(Protocol):
    """A convolution of one engine, a module: features on the input sites -> features on the output sites. Engines
    from outside are classes of it; `scenelift.sparse.conformance.check_engine` holds them against plain torch."""

    weight: nn.Parameter
    """[out, k, k, k, in] along x, y and z; its order is that of `Geometry.offsets`."""

    def __call__(self, features: Tensor, source: Sites, target: Sites) -> Tensor:
        """[V, in] on the source's sites -> [W, out] on the target's, differentiable in features and weight."""


MakeConv = Callable[[str, tuple[int, int], Geometry], Conv]
"""From "submanifold", "strided" or "inverse", the channels (in, out), and the geometry. The target of a strided
convolution, and the source of an inverse one, are the coarser sites."""


def engine_class(engine: Engine) -> MakeConv:
    """What makes the convolutions of an engine; ConfigError for one from outside that cannot be imported."""
    name = resolve_engine(engine)
    if name in ENGINES:
        return SpconvConv if name == "spconv" else TorchConv
    return load(name, GROUP, "student.network.engine", ("forward",))


class _SparseLayer(nn.Module):
    """What the three kinds of convolution share: building the engine's part and running it safely."""

    conv: Conv

    def __init__(self, kind: str, channels: tuple[int, int], geometry: Geometry, engine: Engine) -> None:
        super().__init__()
        self.geometry = geometry
        self.out_channels = channels[1]
        self.conv = engine_class(engine)(kind, channels, geometry)
        # U(-b, b) with b = 1 / sqrt(in * kernel volume), as MinkowskiEngine and torchsparse start.
        bound = 1 / math.sqrt(self.conv.weight[0].numel())
        nn.init.uniform_(self.conv.weight, -bound, bound)

    def _run(self, voxels: Voxels, target: Sites) -> Voxels:
        features = voxels.features
        # float16 is the only reduced precision that spconv has kernels for, and only on a GPU.
        half = features.is_cuda and torch.is_autocast_enabled("cuda")
        half = half and torch.get_autocast_dtype("cuda") == torch.float16
        dtype = torch.float16 if half else self.conv.weight.dtype
        if not len(features):
            # Connected to weight and input, so that every rank of a distributed step has all gradients.
            nothing = (self.conv.weight.sum() + features.sum()) * 0
            return Voxels(features.new_zeros((len(target), self.out_channels), dtype=dtype) + nothing, target)
        with torch.autocast(features.device.type, enabled=False):
            return Voxels(self.conv(features.to(dtype), voxels.sites, target), target)


class SubmanifoldConv(_SparseLayer):
    """Odd kernel, output on exactly the input's sites, no bias."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1, engine: Engine = "auto"
    ) -> None:
        assert kernel % 2 == 1, f"a submanifold kernel is odd, not {kernel}"
        assert kernel > 1, "a 1x1x1 convolution is nn.Linear on the features (spconv's is wrong)"
        geometry = Geometry(kernel, padding=dilation * (kernel // 2), dilation=dilation)
        super().__init__("submanifold", (in_channels, out_channels), geometry, engine)

    def forward(self, voxels: Voxels) -> Voxels:
        return self._run(voxels, voxels.sites)


class StridedConv(_SparseLayer):
    """Output wherever the kernel meets an input voxel; no voxel is lost at odd extents; no bias."""

    kind = "strided"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 2,
        stride: int = 2,
        padding: int = 0,
        engine: Engine = "auto",
    ) -> None:
        assert kernel > 1, "a 1x1x1 convolution is nn.Linear on the features (spconv's is wrong)"
        assert kernel >= stride, f"a kernel of {kernel} with stride {stride} would skip voxels"
        super().__init__(self.kind, (in_channels, out_channels), Geometry(kernel, stride, padding), engine)

    def forward(self, voxels: Voxels) -> Voxels:
        return self._run(voxels, coarser(voxels.sites, self.geometry))


class InverseConv(StridedConv):
    """Transposed convolution back to the sites that a `StridedConv` of the same kernel came from; no bias."""

    kind = "inverse"

    def forward(self, voxels: Voxels) -> Voxels:
        finer = voxels.sites.finer
        assert finer is not None, "an inverse convolution needs sites made by a strided one"
        assert known_coarser(finer, self.geometry) is voxels.sites, (
            "the strided convolution had another kernel"
        )
        return self._run(voxels, finer)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization of voxel features that survives empty and single-voxel batches in training.

    Such a batch has no variance: it is normalized by the running statistics and leaves them as they are.
    """

    def forward(self, features: Tensor) -> Tensor:
        if self.training and len(features) < 2:
            return nn.functional.batch_norm(
                features, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(features)
