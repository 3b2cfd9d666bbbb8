"""Sparse convolution by spconv, on GPU and CPU: its only importer, and the only user of its private parts.

An upgrade: run `pytest -m internals`, mend what fails here, then change `TESTED_SPCONV`. Its traps that can
be closed for a single layer are closed here; `layers` closes the others (k=1 kernels, empty inputs, coordinates).
"""

from __future__ import annotations

import functools
import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from scenelift.io.console import warn_if_untested
from scenelift.sparse.sites import Geometry, Shape, Sites, cell_keys

TESTED_SPCONV = ("2.3.6", "2.3.8")
"""The latter for Python 3.12 and later: the same kernels."""


class SpconvConv(nn.Module):
    """One spconv layer, called on `Sites`; its neighbour tables are kept with the sites."""

    def __init__(self, kind: str, channels: tuple[int, int], geometry: Geometry) -> None:
        super().__init__()
        sp = _spconv()
        self.kind, self.geometry = kind, geometry
        k, s, p, d = geometry.kernel, geometry.stride, geometry.padding, geometry.dilation
        # Without fp32_accum, spconv sums up float16 products of up to 128 channels in float16.
        shared = {"bias": False, "indice_key": "pairs", "fp32_accum": True}
        layer: nn.Module
        if kind == "submanifold":
            layer = sp.SubMConv3d(*channels, k, padding=p, dilation=d, **shared)
        elif kind == "strided":
            layer = sp.SparseConv3d(*channels, k, stride=s, padding=p, **shared)
        else:
            layer = sp.SparseInverseConv3d(*channels, k, **shared)
        self.weight: nn.Parameter = layer.weight  # type: ignore[assignment]
        # Not registered: the weight above is the only parameter, so that both engines' checkpoints agree. spconv
        # checks that its weight is a parameter, so each call puts ours into the private dict behind it, in the
        # precision of the features. To ask for upstream: layers as functions of a weight.
        object.__setattr__(self, "layer", layer)
        self.gpu_algorithm = layer.algo

    def forward(self, features: Tensor, source: Sites, target: Sites) -> Tensor:
        layer: Any = self.__dict__["layer"]
        layer._parameters["weight"] = self.weight.to(features.dtype)
        # spconv's GPU kernels make no gradient unless the layer is in training mode, whereas a trained backbone may
        # be in evaluation mode, its batch norms fixed. To ask for upstream: autograd as on the CPU, in either mode.
        layer.training = torch.is_grad_enabled()
        # Only the native algorithm has CPU kernels, and spconv does not choose it by itself.
        layer.algo = self.gpu_algorithm if features.is_cuda else _spconv().ConvAlgo.Native
        return getattr(self, self.kind)(layer, features, source, target)

    def submanifold(self, layer: Any, features: Tensor, source: Sites, _: Sites) -> Tensor:
        # Tables made without gradients lack what a backward pass needs.
        memo = source.memo.setdefault(("spconv", self.geometry, torch.is_grad_enabled()), {})
        out = layer(_tensor(features, source, source.shape, memo))
        memo |= out.indice_dict
        return out.features

    def strided(self, layer: Any, features: Tensor, source: Sites, target: Sites) -> Tensor:
        """spconv chooses the order of the output; ours is sorted, so that both engines agree on it."""
        out = layer(_tensor(features, source, self.geometry.covered(source.shape), {}))
        order = torch.argsort(cell_keys(out.indices, target.shape))
        target.memo["spconv"] = (out.indice_dict, order)
        return out.features[order]

    def inverse(self, layer: Any, features: Tensor, source: Sites, _: Sites) -> Tensor:
        pairs, order = source.memo["spconv"]
        theirs = torch.empty_like(order)
        theirs[order] = torch.arange(len(order), device=order.device)
        return layer(_tensor(features[theirs], source, source.shape, pairs)).features


def allow_tf32(allowed: bool) -> None:
    """Whether the GPU kernels of float32 layers may round their inputs to TF32; nothing changes on a CPU.

    spconv keeps the kernel that was fastest for a shape whatever this switch says later (measured: without a tuner
    for each setting, TF32 after float32 changes nothing), so each setting has its own. To ask for upstream: the
    switch as a part of the tuner's key.
    """
    _spconv()
    from spconv import algo, constants
    from spconv.pytorch import ops

    if allowed not in _TUNERS:
        kernels = [algo.algocore.get_conv_algo_desp_from_param(p) for p in algo.ALL_IMPGEMM_PARAMS]
        _TUNERS[allowed] = algo.ConvTunerSimple(kernels) if _TUNERS else ops.CONV_CPP
    constants.SPCONV_ALLOW_TF32, ops.CONV_CPP = allowed, _TUNERS[allowed]


_TUNERS: dict[bool, Any] = {}
"""Whether TF32 is allowed -> the tuner that chose kernels so."""


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
            # To ask for upstream: describe them where they are first needed.
            core.ALL_IMPGEMM_PARAMS.clear()
        import spconv
        import spconv.pytorch as sp
    # Each process would warn that spconv's tensors ask torch whether it traces; nothing here is traced.
    said_once = logging.getLogger("torch.fx._symbolic_trace")
    said_once.addFilter(lambda record: "is_fx_tracing" not in record.getMessage())
    warn_if_untested("spconv", spconv.__version__, TESTED_SPCONV)
    return sp
