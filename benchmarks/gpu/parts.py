"""The machine, the frozen teacher, and the losses, each by itself."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.bench import Bench, attempt, difference
from benchmarks.gpu.frames import Frames
from scenelift.sparse.layers import SubmanifoldConv, resolve_engine

MATRIX = 8192


def environment(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Versions, the card, and what it moves and multiplies at best."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cpus": len(os.sched_getaffinity(0)),
        "real_frame": frames.real,
        "engine": resolve_engine("auto"),
    }
    if found["engine"] == "spconv":
        began = time.perf_counter()
        SubmanifoldConv(1, 8).to(bench.device)
        found["engine_start_s"] = round(time.perf_counter() - began, 1)
        packages = [each.metadata["Name"] for each in importlib.metadata.distributions()]
        found |= {
            name: importlib.metadata.version(name) for name in packages if name[:7] in ("spconv-", "cumm-cu")
        }
    return found | (_card(bench) if bench.cuda else {})


def _card(bench: Bench) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(bench.device)
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem", "--format=csv,noheader"]
    large = torch.empty(2**30, dtype=torch.uint8, device=bench.device)
    copied = bench.time(functools.partial(torch.empty_like(large).copy_, large))["ms"]
    result = {
        "gpu": properties.name,
        "GiB": round(properties.total_memory / 2**30, 1),
        "capability": list(torch.cuda.get_device_capability()),
        "multiprocessors": properties.multi_processor_count,
        "driver, clocks": attempt(
            lambda: subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        ),
        "copy_GB_s": round(2 * 2**30 / copied / 1e6),
    }
    for name, dtype in (("bfloat16", torch.bfloat16), ("tf32", torch.float32), ("float32", torch.float32)):
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        x = torch.randn(MATRIX, MATRIX, device=bench.device, dtype=dtype)
        result[f"matrix_{name}_TFLOP_s"] = round(
            2 * MATRIX**3 / bench.time(functools.partial(torch.matmul, x, x), 5)["ms"] / 1e9
        )
    torch.set_float32_matmul_precision("highest")
    host = torch.empty(2**26, dtype=torch.uint8)
    for name, source in (("pageable", host), ("pinned", host.pin_memory())):
        moved = bench.time(functools.partial(source.to, bench.device, non_blocking=True))["ms"]
        result[f"to_device_{name}_GB_s"] = round(2**26 / moved / 1e6, 1)
    return result


def teacher(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Photos a second of ViT-B/16 with random weights, and labels that differ from float32's of the tiny CLIP."""
    from scenelift.teachers.clip import build_teacher
    from trainables.common.config import CLIP_TEACHER, TINY_TEACHER

    result: dict[str, Any] = {}
    for size in ((224, 416), (448, 832)) if not bench.small else ():
        config = replace(CLIP_TEACHER, weights="random", image_size=size)
        began = time.perf_counter()
        clip = build_teacher(config, frames.vocabularies[0], bench.device)
        bench.synchronize()
        result[f"{size} build_s, prompts on {bench.device.type}"] = round(time.perf_counter() - began, 1)
        for count in (24, 6):
            images = torch.randint(0, 255, (count, 3, *size), dtype=torch.uint8, device=bench.device)
            for arithmetic in ("bfloat16", "float32") if bench.cuda else ("float32",):
                clip.config = replace(config, precision=arithmetic)
                timed = bench.time(functools.partial(clip.scores, images), 5, 2)
                timed["images_s"] = round(1000 * count / timed["ms"])
                result[f"{size} {count} photos {arithmetic}"] = timed
            if bench.cuda and count == 24:
                clip.config = replace(config, precision="bfloat16")
                result[f"{size} {count} photos bfloat16 compiled"] = attempt(_compiled, bench, clip, images)
    clip = build_teacher(TINY_TEACHER, frames.vocabularies[-1], bench.device)
    images = torch.stack([image for frame in frames.synthetic(4) for image in _decoded(frame)]).to(
        bench.device
    )
    labels = {}
    for arithmetic in ("float32", "bfloat16"):
        clip.config = replace(clip.config, precision=arithmetic)
        labels[arithmetic] = clip.scores(images).argmax(1)
    same = (labels["float32"] == labels["bfloat16"]).float().mean()
    return result | {"tiny CLIP, patches labelled as in float32": round(float(same), 5)}


def _compiled(bench: Bench, clip: Any, images: Tensor) -> dict[str, Any]:
    fast = torch.compile(clip.tokens, dynamic=False)
    began = time.perf_counter()
    fast(images)
    bench.synchronize()
    compiled = round(time.perf_counter() - began, 1)
    timed = bench.time(lambda: clip.compare(clip.project(fast(images))), 5, 2)
    return timed | {"images_s": round(1000 * len(images) / timed["ms"]), "compile_s": compiled}


def _decoded(frame: Any) -> list[Tensor]:
    from scenelift.samples.images import decode

    return [torch.from_numpy(decode(image).copy()).permute(2, 0, 1) for image in frame.images]


def losses(bench: Bench, frames: Frames) -> dict[str, Any]:
    """Forward and backward of each loss at its paper's size, and the value against float64 on the CPU."""
    result: dict[str, Any] = {}
    for pairs in (40_000, 400_000) if not bench.small else (2000,):
        result |= _consistencies(bench, pairs)
    return result | _contrasts(bench)


def _consistencies(bench: Bench, pairs: int) -> dict[str, Any]:
    """CLIP2Scene's, over pairs of which three lie in a cell."""
    from trainables.distill import losses as distill

    torch.manual_seed(0)
    features = torch.randn(pairs, 512, device=bench.device, requires_grad=True)
    pixels = F.normalize(torch.randn(pairs, 512, device=bench.device), dim=1)
    text = F.normalize(torch.randn(16, 512, device=bench.device), dim=1)
    labels = torch.randint(0, 16, (pairs,), device=bench.device)
    cell = torch.unique(torch.randint(0, pairs // 3, (pairs,), device=bench.device), return_inverse=True)[1]
    logits = features.detach()[:, :16].clone().requires_grad_()
    forms: dict[str, Callable[[], Tensor]] = {
        "code": lambda: distill.spatial_temporal(features, labels, cell, text, None),
        "code, cap 8": lambda: distill.spatial_temporal(features, labels, cell, text, 8),
        "joint": lambda: distill.spatial_temporal_joint(features, pixels, labels, cell, text, 1.0),
        "cosine": lambda: distill.image_cosine(features, pixels),
        "consistency": lambda: distill.semantic_consistency(logits, labels, 1.0, 0.0),
        "contrast": lambda: distill.semantic_contrast(logits, labels, 1.0),
    }

    def step(loss: Callable[[], Tensor]) -> None:
        loss().backward()
        features.grad = None

    result = {
        f"{name} {pairs}": attempt(bench.time, functools.partial(step, loss), 5, 2)
        for name, loss in forms.items()
    }
    exact = distill.spatial_temporal(
        features.detach().double().cpu(), labels.cpu(), cell.cpu(), text.double().cpu(), None
    )
    return result | {f"code {pairs}, difference": difference(forms["code"](), exact)}


def _contrasts(bench: Bench) -> dict[str, Any]:
    from trainables.pretrain import losses as contrast

    keys, images, size, grid_size = (
        (4096, 24, (224, 416), (14, 26)) if not bench.small else (64, 2, (32, 64), (4, 8))
    )
    pairs = 90_000 if not bench.small else 500
    a, b = (torch.randn(keys, 64, device=bench.device, requires_grad=True) for _ in range(2))
    points = torch.randn(pairs, 64, device=bench.device, requires_grad=True)
    grid = torch.randn(images, 64, *grid_size, device=bench.device, requires_grad=True)
    rows, columns = (torch.arange(n, device=bench.device) for n in size)
    superpixels = (
        (rows[:, None] * 10 // size[0] * 15 + columns * 15 // size[1]).expand(images, *size).contiguous()
    )
    pixels = torch.stack([torch.randint(0, n, (pairs,), device=bench.device) for n in (images, *size)], 1)
    return {
        f"ppkt {keys}": attempt(lambda: bench.time(lambda: contrast.ppkt(a, b, 0.07).backward(), 5, 2)),
        f"slidr {pairs} pairs, {images} images": attempt(
            lambda: bench.time(
                lambda: contrast.slidr(points, pixels, grid, superpixels, 0.07).backward(), 5, 2
            )
        ),
    }
