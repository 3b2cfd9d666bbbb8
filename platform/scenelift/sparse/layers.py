"""Sparse 3D convolution behind one interface: spconv on GPU and CPU, plain torch as oracle and fallback.

The only importer of spconv. Its traps (k=1 kernels, bias in evaluation, default algorithm without a GPU,
bfloat16, empty inputs, odd extents that lose voxels, unchecked coordinates) are closed here, so networks need
not know them.

Weights of both engines have the layout (out, kx, ky, kz, in) and the same names: checkpoints fit either.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import warnings
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from scenelift.errors import ConfigError
from scenelift.sparse.config import Engine

Shape = tuple[int, int, int]


@dataclass(eq=False)
class Sites:
    """Where the active voxels are: the coordinates that several feature tensors share."""

    coords: Tensor
    """[V, 4] int32 (sample, x, y, z), unique, inside `shape`."""
    shape: Shape
    """Extent of the grid along x, y, z, voxels."""
    batch_size: int
    """Number of samples; a sample may be empty."""
    finer: Sites | None = None
    """The sites that a strided convolution made these from; where an inverse convolution returns to."""
    memo: dict[Any, Any] = field(default_factory=dict)
    """Neighbour tables and coarser sites already built for these sites, by layer geometry."""

    def __len__(self) -> int:
        return len(self.coords)


@dataclass(eq=False)
class Voxels:
    """Features on sites: what sparse layers take and return."""

    features: Tensor
    """[V, C]"""
    sites: Sites

    @classmethod
    def checked(cls, features: Tensor, coords: Tensor, shape: Shape, batch_size: int) -> Voxels:
        """Build from coordinates that nobody has checked; the only door into the sparse world.

        Engines read out-of-range and duplicate coordinates without complaint and answer nonsense.
        """
        assert coords.dtype == torch.int32, f"coordinates must be int32, not {coords.dtype}"
        assert coords.ndim == 2 and coords.shape[1] == 4, (
            f"coordinates must be [V, 4], not {tuple(coords.shape)}"
        )
        assert len(features) == len(coords), f"{len(features)} features for {len(coords)} voxels"
        assert batch_size > 0 and min(shape) > 0, f"empty grid {shape} or batch of {batch_size}"
        if len(coords):
            limits = torch.tensor([batch_size, *shape], dtype=torch.int32, device=coords.device)
            inside = (coords >= 0) & (coords < limits)
            assert bool(inside.all()), f"{int((~inside.all(1)).sum())} voxels lie outside the grid {shape}"
            keys = _keys(coords, shape)
            assert len(torch.unique(keys)) == len(keys), (
                f"{len(keys) - len(torch.unique(keys))} duplicate voxels"
            )
        return cls(features, Sites(coords, shape, batch_size))

    def with_features(self, features: Tensor) -> Voxels:
        """The same sites carrying other features."""
        return Voxels(features, self.sites)


def resolve_engine(engine: Engine) -> Literal["spconv", "torch"]:
    """Which engine `auto` means here; ConfigError when spconv is asked for and not installed."""
    installed = importlib.util.find_spec("spconv") is not None
    if engine == "spconv" and not installed:
        raise ConfigError("spconv is not installed here; install spconv-cu120 or set the engine to torch")
    return "spconv" if engine != "torch" and installed else "torch"


class _Conv(Protocol):
    """A convolution of one engine: features on the input sites -> features on the output sites."""

    weight: nn.Parameter

    def __call__(self, features: Tensor, source: Sites, target: Sites) -> Tensor: ...


class _SparseLayer(nn.Module):
    """What the three kinds of convolution share: building the engine's part and running it safely."""

    conv: _Conv

    def __init__(self, kind: str, channels: tuple[int, int], geometry: _Geometry, engine: Engine) -> None:
        super().__init__()
        make = _SpconvConv if resolve_engine(engine) == "spconv" else _TorchConv
        self.geometry = geometry
        self.out_channels = channels[1]
        self.conv = make(kind, channels, geometry)

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


@dataclass(frozen=True)
class _Geometry:
    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def offsets(self) -> list[tuple[int, int, int]]:
        """Kernel cells in weight order, as input steps from the (strided, padded) output corner."""
        steps = [i * self.dilation - self.padding for i in range(self.kernel)]
        return list(product(steps, steps, steps))

    def covered(self, shape: Shape) -> Shape:
        """`shape` padded up so that the last, incomplete output cell keeps its voxels."""
        return _triple(max(self.kernel, math.ceil(n / self.stride) * self.stride) for n in shape)

    def out_shape(self, shape: Shape) -> Shape:
        reach = self.dilation * (self.kernel - 1) + 1
        return _triple((n + 2 * self.padding - reach) // self.stride + 1 for n in self.covered(shape))


class SubmanifoldConv(_SparseLayer):
    """Odd kernel, output on exactly the input's sites, no bias."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1, engine: Engine = "auto"
    ) -> None:
        assert kernel % 2 == 1, f"a submanifold kernel is odd, not {kernel}"
        assert kernel > 1, "a 1x1x1 convolution is nn.Linear on the features (spconv's is wrong)"
        geometry = _Geometry(kernel, padding=dilation * (kernel // 2), dilation=dilation)
        super().__init__("submanifold", (in_channels, out_channels), geometry, engine)

    def forward(self, voxels: Voxels) -> Voxels:
        return self._run(voxels, voxels.sites)


class StridedConv(_SparseLayer):
    """Output wherever the kernel meets an input voxel; no voxel is lost at odd extents; no bias."""

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
        super().__init__("strided", (in_channels, out_channels), _Geometry(kernel, stride, padding), engine)

    def forward(self, voxels: Voxels) -> Voxels:
        return self._run(voxels, coarser(voxels.sites, self.geometry))


class InverseConv(_SparseLayer):
    """Transposed convolution back to the sites that a `StridedConv` of the same kernel came from; no bias."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 2,
        stride: int = 2,
        padding: int = 0,
        engine: Engine = "auto",
    ) -> None:
        super().__init__("inverse", (in_channels, out_channels), _Geometry(kernel, stride, padding), engine)

    def forward(self, voxels: Voxels) -> Voxels:
        finer = voxels.sites.finer
        assert finer is not None, "an inverse convolution needs sites made by a strided one"
        assert finer.memo.get(self.geometry) is voxels.sites, "the strided convolution had another kernel"
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


def coarser(sites: Sites, geometry: _Geometry) -> Sites:
    """The sites a strided convolution of this geometry writes to: built once, sorted by coordinate."""
    made = sites.memo.get(geometry)
    if made is None:
        shape = geometry.out_shape(sites.shape)
        keys = torch.unique(_keys(_cells(sites, geometry, shape), shape))
        made = sites.memo[geometry] = Sites(_unkeys(keys, shape), shape, sites.batch_size, finer=sites)
    return made


def _cells(sites: Sites, geometry: _Geometry, shape: Shape) -> Tensor:
    """[*, 4] every output cell that some voxel falls into, with repeats."""
    coords, stride = sites.coords, geometry.stride
    if geometry.kernel == stride and geometry.padding == 0:
        return torch.cat((coords[:, :1], coords[:, 1:] // stride), 1)
    cells = []
    for offset in geometry.offsets():
        position = coords[:, 1:] - coords.new_tensor(offset)
        cell = torch.div(position, stride, rounding_mode="floor")
        kept = (cell * stride == position) & (cell >= 0) & (cell < cell.new_tensor(shape))
        cells.append(torch.cat((coords[:, :1], cell), 1)[kept.all(1)])
    return torch.cat(cells)


def _neighbours(fine: Sites, coarse: Sites, geometry: _Geometry) -> list[tuple[Tensor, Tensor]]:
    """For each kernel cell, the rows (fine, coarse) it connects: built once, kept with the coarse sites."""
    memo = coarse.memo.setdefault("neighbours", {})
    if geometry not in memo:
        keys, order = torch.sort(_keys(fine.coords, fine.shape))
        corner = coarse.coords.long()
        corner[:, 1:] *= geometry.stride
        limit = corner.new_tensor(fine.shape)
        table = []
        for offset in geometry.offsets():
            wanted = corner + corner.new_tensor([0, *offset])
            inside = ((wanted[:, 1:] >= 0) & (wanted[:, 1:] < limit)).all(1)
            rows = torch.nonzero(inside).squeeze(1)
            key = _keys(wanted[rows], fine.shape)
            at = torch.searchsorted(keys, key).clamp(max=len(keys) - 1)
            hit = keys[at] == key
            table.append((order[at[hit]], rows[hit]))
        memo[geometry] = table
    return memo[geometry]


class _TorchConv(nn.Module):
    """Gather, multiply, scatter; one matrix product per kernel cell. Any device, any float type."""

    def __init__(self, kind: str, channels: tuple[int, int], geometry: _Geometry) -> None:
        super().__init__()
        self.kind, self.geometry = kind, geometry
        k = geometry.kernel
        self.weight = nn.Parameter(torch.empty(channels[1], k, k, k, channels[0]))
        _initialize(self.weight)

    def forward(self, features: Tensor, source: Sites, target: Sites) -> Tensor:
        inverse = self.kind == "inverse"
        fine, coarse = (target, source) if inverse else (source, target)
        weight = self.weight.to(features.dtype).flatten(1, 3)
        out = features.new_zeros(len(target), weight.shape[0])
        for cell, (fine_rows, coarse_rows) in enumerate(_neighbours(fine, coarse, self.geometry)):
            read, write = (coarse_rows, fine_rows) if inverse else (fine_rows, coarse_rows)
            if len(read):
                out = out.index_add(0, write, features[read] @ weight[:, cell].T)
        return out


class _SpconvConv(nn.Module):
    """One spconv layer, called on `Sites`; its neighbour tables are kept with the sites."""

    def __init__(self, kind: str, channels: tuple[int, int], geometry: _Geometry) -> None:
        super().__init__()
        sp = _spconv()
        self.kind, self.geometry = kind, geometry
        k, s, p, d = geometry.kernel, geometry.stride, geometry.padding, geometry.dilation
        shared = {"bias": False, "indice_key": "pairs"}
        layer: nn.Module
        if kind == "submanifold":
            layer = sp.SubMConv3d(*channels, k, padding=p, dilation=d, **shared)
        elif kind == "strided":
            layer = sp.SparseConv3d(*channels, k, stride=s, padding=p, **shared)
        else:
            layer = sp.SparseInverseConv3d(*channels, k, **shared)
        self.weight: nn.Parameter = layer.weight  # type: ignore[assignment]
        _initialize(self.weight)
        # Not registered: the weight above is the only parameter, so that both engines' checkpoints agree.
        object.__setattr__(self, "layer", layer)
        self.gpu_algorithm = layer.algo

    def forward(self, features: Tensor, source: Sites, target: Sites) -> Tensor:
        layer: Any = self.__dict__["layer"]
        layer._parameters["weight"] = self.weight.to(features.dtype)
        layer.training = self.training
        # Only the native algorithm has CPU kernels.
        layer.algo = self.gpu_algorithm if features.is_cuda else _spconv().ConvAlgo.Native
        return getattr(self, self.kind)(layer, features, source, target)

    def submanifold(self, layer: Any, features: Tensor, source: Sites, _: Sites) -> Tensor:
        memo = source.memo.setdefault(("spconv", self.geometry), {})
        out = layer(_tensor(features, source, source.shape, memo))
        memo |= out.indice_dict
        return out.features

    def strided(self, layer: Any, features: Tensor, source: Sites, target: Sites) -> Tensor:
        """spconv chooses the order of the output; ours is sorted, so that both engines agree on it."""
        out = layer(_tensor(features, source, self.geometry.covered(source.shape), {}))
        order = torch.argsort(_keys(out.indices, target.shape))
        target.memo["spconv"] = (out.indice_dict, order)
        return out.features[order]

    def inverse(self, layer: Any, features: Tensor, source: Sites, _: Sites) -> Tensor:
        pairs, order = source.memo["spconv"]
        theirs = torch.empty_like(order)
        theirs[order] = torch.arange(len(order), device=order.device)
        return layer(_tensor(features[theirs], source, source.shape, pairs)).features


def _tensor(features: Tensor, sites: Sites, shape: Shape, pairs: dict[Any, Any]) -> Any:
    return _spconv().SparseConvTensor(
        features, sites.coords, list(shape), sites.batch_size, indice_dict=pairs
    )


@functools.cache
def _spconv() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # every import prints a dozen FutureWarnings of torch.cuda.amp
        if not torch.cuda.is_available():
            from spconv import core

            # Describing every GPU kernel takes 3.5 s of each process's start; without a GPU none is asked for.
            core.ALL_IMPGEMM_PARAMS.clear()
        import spconv.pytorch as sp
    return sp


def _initialize(weight: Tensor) -> None:
    """U(-b, b) with b = 1 / sqrt(in * kernel volume), as MinkowskiEngine and torchsparse start."""
    bound = 1 / math.sqrt(weight[0].numel())
    nn.init.uniform_(weight, -bound, bound)


def _keys(coords: Tensor, shape: Shape) -> Tensor:
    """[V] int64, one number per cell, in the order of (sample, x, y, z)."""
    sample, x, y, z = coords.long().unbind(1)
    return ((sample * shape[0] + x) * shape[1] + y) * shape[2] + z


def _unkeys(keys: Tensor, shape: Shape) -> Tensor:
    rest, z = keys // shape[2], keys % shape[2]
    rest, y = rest // shape[1], rest % shape[1]
    return torch.stack((rest // shape[0], rest % shape[0], y, z), 1).int()


def _triple(values: Any) -> Shape:
    x, y, z = values
    return int(x), int(y), int(z)
